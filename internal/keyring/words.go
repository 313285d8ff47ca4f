package keyring

import "strings"

// Words is the number of words in a fingerprint: 96 bits of a SHA-256, so that
// nobody finds a second request with the same words.
const Words = 12

// wordList has a word for every byte. The words are common and differ in their
// first three letters, because people read them out over the telephone.
var wordList = strings.Fields(`
acid acorn actor adobe agile album alley amber angle ankle apple april arena arrow aspen atlas
audio autumn avenue axis bacon badge baker bamboo banjo barn basil beaver bell berry bicycle
birch bishop blade blue bottle boxer brave bridge bronze bubble bucket buffalo bundle butter
cabin cactus camel candle carbon castle cedar cello chalk cherry cider cigar circle clay cliff
cobalt coffee comet copper coral cotton cradle cricket crystal cube curtain cycle daisy dance
dawn decade delta denim desert diamond dinner dolphin donkey dove dragon drum duck eagle earth
east echo eclipse edge eight elbow elephant ember engine estate evening fabric falcon farm
feather fence ferry fiddle field finger fish flame flute fog forest fossil fox frame frost fruit
galaxy garden gentle giant ginger glass glove goat gold grape green guitar gulf hammer harbor
hazel heart helmet hero hockey honey horse hotel humor hunter ice igloo index ink iron island
ivory jacket jaguar jazz jelly jewel jigsaw jungle kayak kettle king kitchen koala ladder lake
lantern laser lava lemon leopard letter lily linen lion lizard lobster locket lotus lunar magnet
mango maple marble meadow medal melon mercury metal milk mint mirror monkey moon mosaic motor
mountain music napkin nectar needle nest nickel night noble north nut oak oasis ocean olive
onion opera orange orbit otter owl oxygen oyster paddle palace panda paper parrot pearl pencil
pepper piano pigeon pilot pine pizza planet plum pocket poem potato prism purple puzzle pyramid
quartz queen quiet rabbit radio rain raven ribbon river robin rocket rose ruby saddle salmon
sand`)

// inWords writes the first bytes of a hash as words.
func inWords(hash [32]byte) string {
	words := make([]string, Words)
	for i := range words {
		words[i] = wordList[hash[i]]
	}
	return strings.Join(words, " ")
}

// SameWords reports whether two fingerprints have the same words, whatever
// separates them.
func SameWords(a, b string) bool {
	x, y := fields(a), fields(b)
	return len(x) == Words && strings.Join(x, " ") == strings.Join(y, " ")
}

func fields(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r < 'a' || r > 'z' })
}
