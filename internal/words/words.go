// Package words has the vault format's list of words, one for every byte, for what people
// read out, compare or write down (docs/vault-format.md).
package words

import "strings"

// List has a word for every byte. The words are common and differ in their first three
// letters, because people read them out over the telephone.
var List = strings.Fields(`
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
