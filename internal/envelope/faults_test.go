package envelope_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// fault is one thing wrong with one stored object of a world. Those of an
// attacker say what the attacker knows.
type fault struct {
	name   string
	object string // vault, members or deks
	expect string // the stage that must refuse it; "": it changes nothing
	data   []byte
}

func lines(data []byte) [][]byte { return slices.Collect(bytes.Lines(data)) }

func replaceLine(data []byte, at int, line []byte) []byte {
	return bytes.Join(slices.Replace(lines(data), at, at+1, line), nil)
}

// flip changes the first character of the text after mark, keeping it base64url.
func flip(data []byte, mark string, offset int) []byte {
	out := bytes.Clone(data)
	i := bytes.Index(out, []byte(mark)) + len(mark) + offset
	if out[i] == 'A' {
		out[i] = 'B'
	} else {
		out[i] = 'A'
	}
	return out
}

func sub(data []byte, old, to string) []byte {
	return bytes.Replace(data, []byte(old), []byte(to), 1)
}

// record signs a body as a record's line.
func record(t testing.TB, by *person, body string) []byte {
	t.Helper()
	sig := must(by.halves.Sign(keyring.RecordMessage([]byte(body))))(t)
	return fmt.Appendf(nil, "{\"body\":%s,\"sig\":\"%s\"}\n", body, b64(sig))
}

func bodyStart(m *keyring.Members, by id.Identity, kind keyring.Kind) string {
	return fmt.Sprintf(`{"seq":%d,"prev":"%v","by":"%v","kind":"%s"`, len(m.Records()), m.Head(), by, kind)
}

// insertRecord puts a record behind the last one.
func insertRecord(m *keyring.Members, line []byte) []byte {
	return bytes.Join(slices.Insert(lines(m.Encode()), len(m.Records())+1, line), nil)
}

// resign gives a deks object the end that somebody would write who knows a KEK:
// MAC and signature of what precedes it.
func resign(w *world, kek uint64, key []byte, by *person, deks []byte) []byte {
	w.t.Helper()
	all := lines(deks)
	body := bytes.Join(all[:len(all)-1], nil)
	hash := id.HashOf(body)
	mac := must(envelope.DeksMAC(key, w.m.Vault(), kek, hash))(w.t)
	sig := must(by.halves.Sign(keyring.DeksMessage(hash)))(w.t)
	return fmt.Appendf(body, "{\"mac\":\"%s\",\"sig\":\"%s\"}\n", b64(mac[:]), b64(sig))
}

// faults returns every fault of the test vectors.
func faults(w *world) []fault {
	return slices.Concat(vaultFaults(w), membersFaults(w), memberBlockFaults(w), deksFaults(w))
}

func vaultFaults(w *world) []fault {
	t, good := w.t, w.objects().vault
	all := lines(good)
	v := func(i int) vaultfile.Revision { return must(vaultfile.ParseLine(all[i]))(t) }
	first, second := v(1), v(2)
	at := func(i int, change func(*vaultfile.Revision)) []byte {
		r := v(i)
		r.Meta, r.Secret = bytes.Clone(r.Meta), bytes.Clone(r.Secret)
		change(&r)
		return replaceLine(good, i, r.Line())
	}
	// What only a writer can do: another line, which the manifest names.
	written := func(change func(*vaultfile.Revision)) []byte {
		vault := at(1, change)
		line := must(vaultfile.ParseLine(lines(vault)[1]))(t)
		e := w.d.Lookup(line.Revision)
		deks := sub(w.encode(w.d), e.Line.String(), line.Sum().String())
		now, later := fmt.Sprintf(`"epoch":%d,`, w.d.Epoch()), fmt.Sprintf(`"epoch":%d,`, w.d.Epoch()+1)
		return append(resign(w, 2, w.keks[2], w.owner, sub(deks, now, later)), vault...)
	}
	d := w.d.Lookup(first.Revision)
	dek := make([]byte, 32)
	if err := envelope.UnwrapDEK(dek, d, w.keks[2], w.m.Vault(), 2); err != nil {
		t.Fatal(err)
	}
	vault := w.m.Vault()
	var parents []byte
	for _, p := range first.Parents {
		parents = append(parents, p[:]...)
	}
	context := envelope.NewContext("vigil v1 secret", vault[:], first.Item[:], first.Revision[:], parents)
	unpadded := must(envelope.Seal(dek, context, make([]byte, 512)))(t)
	long := make([]byte, 1024)
	long[3] = 0x80
	overpadded := must(envelope.Seal(dek, context, long))(t)
	// Who was a member knows the DEK.
	another := first
	another.Meta = must(envelope.SealMeta(dek, envelope.Binding{Vault: vault, Item: first.Item, Revision: first.Revision, Parents: first.Parents}, []byte("{}")))(t)
	replaced := another
	replaced.Revision, replaced.Parents = first.Parents[0], nil
	const both = "deks+vault"
	return []fault{
		{"header-missing", "vault", "vault header", bytes.Join(all[1:], nil)},
		{"version-2", "vault", "vault version", sub(good, `"version":1`, `"version":2`)},
		{"another-vault", "vault", "vault vault", sub(good, w.m.Vault().String(), id.Vault{1}.String())},
		{"white-space", "vault", "vault syntax", sub(good, `,"meta"`, `, "meta"`)},
		{"cut", "vault", "vault syntax", good[:len(good)-100]},
		{"unknown-member", "vault", "vault syntax", sub(good, `,"secret"`, `,"x":0,"secret"`)},
		{"meta-flipped", "vault", "vault line", at(1, func(r *vaultfile.Revision) { r.Meta[64] ^= 1 })},
		{"secret-flipped", "vault", "vault line", at(1, func(r *vaultfile.Revision) { r.Secret[100] ^= 1 })},
		{"secrets-swapped", "vault", "vault line", at(1, func(r *vaultfile.Revision) { r.Secret = second.Secret })},
		{"parents-changed", "vault", "vault line", at(1, func(r *vaultfile.Revision) { r.Parents = []id.Revision{{1}} })},
		{"sealed-by-who-knows-the-dek", "vault", "vault line", replaceLine(good, 1, another.Line())},
		{"another-line-beside-the-genuine-one", "vault", "", append(bytes.Clone(good), another.Line()...)},
		{"another-line-of-what-was-replaced", "vault", "", append(bytes.Clone(good), replaced.Line()...)},
		{"meta-salt-flipped", both, "meta wrong-key", written(func(r *vaultfile.Revision) { r.Meta[0] ^= 1 })},
		{"meta-commitment-flipped", both, "meta wrong-key", written(func(r *vaultfile.Revision) { r.Meta[32] ^= 1 })},
		{"meta-ciphertext-flipped", both, "meta damaged", written(func(r *vaultfile.Revision) { r.Meta[64] ^= 1 })},
		{"meta-tag-flipped", both, "meta damaged", written(func(r *vaultfile.Revision) { r.Meta[len(r.Meta)-1] ^= 1 })},
		{"secret-ciphertext-flipped", both, "secret damaged", written(func(r *vaultfile.Revision) { r.Secret[100] ^= 1 })},
		{"metas-swapped", both, "meta wrong-key", written(func(r *vaultfile.Revision) { r.Meta = second.Meta })},
		{"secrets-swapped", both, "secret wrong-key", written(func(r *vaultfile.Revision) { r.Secret = second.Secret })},
		{"meta-as-secret", both, "secret wrong-key", written(func(r *vaultfile.Revision) { r.Secret = r.Meta })},
		{"parents-changed", both, "meta wrong-key", written(func(r *vaultfile.Revision) { r.Parents = []id.Revision{{1}} })},
		{"secret-without-padding", both, "secret padding", written(func(r *vaultfile.Revision) { r.Secret = unpadded })},
		{"secret-padded-too-far", both, "secret padding", written(func(r *vaultfile.Revision) { r.Secret = overpadded })},
	}
}

func membersFaults(w *world) []fault {
	t, m := w.t, w.m
	good := m.Encode()
	all := lines(good)
	stranger := newPerson(t, "a stranger")
	otherFounding := must(keyring.Found(stranger.halves, stranger.public, [16]byte{1}))(t)
	other := must(otherFounding.Complete(stranger.seal(w.keks[1], otherFounding.Vault(), 1), stranger.block(otherFounding.Vault())))(t)
	added := func(by id.Identity) string {
		return bodyStart(m, by, keyring.IdentityAdded) + fmt.Sprintf(`,"identity":"%v","role":"owner","hpke":"%s","ed25519":"%s","unlock":"%v","seals":[{"kek":2,"sha256":"%v"}]}`,
			stranger.id, b64(stranger.public.HPKE[:]), b64(stranger.public.Ed25519[:]), id.Hash{1}, id.Hash{2})
	}
	fork := must(w.oldMembers.Append(w.owner.halves, keyring.ChangeMaster{Block: w.owner.block(m.Vault())}))(t)
	for len(fork.Records()) <= len(m.Records()) {
		fork = must(fork.Append(w.owner.halves, keyring.ChangeMaster{Block: w.owner.block(m.Vault())}))(t)
	}
	rekeyed := func(hpke []byte) []byte {
		next := newPerson(t, "next")
		return insertRecord(m, record(t, w.member, bodyStart(m, w.member.id, keyring.Rekeyed)+fmt.Sprintf(
			`,"identity":"%v","hpke":"%s","ed25519":"%s","unlock":"%v","seals":[{"kek":2,"sha256":"%v"}],"deks":"%v"}`,
			w.member.id, b64(hpke), b64(next.public.Ed25519[:]), id.Hash{1}, id.Hash{2}, id.Hash{3})))
	}
	lowOrder := bytes.Clone(stranger.public.HPKE[:])
	clear(lowOrder[len(lowOrder)-32:])
	made := bodyStart(m, w.member.id, keyring.KEKMade) + fmt.Sprintf(`,"kek":3,"seals":"%v"}`, id.Hash{1})
	many := m
	for range keyring.MaxOwnRecords {
		many = must(many.Append(w.member.halves, keyring.ChangeMaster{Block: w.member.block(m.Vault())}))(t)
	}
	one := bodyStart(many, w.member.id, keyring.MasterChanged) + fmt.Sprintf(`,"identity":"%v","master":"local","unlock":"%v"}`, w.member.id, id.Hash{1})
	return []fault{
		{"version-2", "members", "members version", sub(good, `"version":1`, `"version":2`)},
		{"white-space", "members", "members syntax", sub(good, `,"by"`, `, "by"`)},
		{"cut", "members", "members syntax", good[:len(good)-1]},
		{"another-vaults-object", "members", "members vault", other.Encode()},
		{"another-vaults-records", "members", "members vault", replaceLine(other.Encode(), 0, all[0])},
		{"another-vaults-record", "members", "members chain", bytes.Join(slices.Insert(slices.Clone(all), len(m.Records())+1, lines(other.Encode())[3]), nil)},
		{"record-left-out", "members", "members chain", bytes.Join(slices.Delete(slices.Clone(all), 3, 4), nil)},
		{"owner-added-by-stranger", "members", "members authorisation", insertRecord(m, record(t, stranger, added(stranger.id)))},
		{"owner-added-by-member", "members", "members authorisation", insertRecord(m, record(t, w.member, added(w.member.id)))},
		{"owner-added-in-owners-name", "members", "members signature", insertRecord(m, record(t, stranger, added(w.owner.id)))},
		{"owner-added-without-signature", "members", "members signature", insertRecord(m, fmt.Appendf(nil, "{\"body\":%s,\"sig\":\"%s\"}\n", added(w.owner.id), strings.Repeat("A", 86)))},
		{"kek-made-by-member", "members", "members authorisation", insertRecord(m, record(t, w.member, made))},
		{"too-many-records-of-a-member", "members", "members authorisation", insertRecord(many, record(t, w.member, one))},
		{"rekeyed-without-ml-kem-key", "members", "members chain", rekeyed(bytes.Repeat([]byte{255}, keyring.HPKEPublicSize))},
		{"rekeyed-with-key-of-low-order", "members", "members chain", rekeyed(lowOrder)},
		{"signature-flipped", "members", "members signature", replaceLine(good, 3, flip(all[3], `"sig":"`, 5))},
		{"rollback", "members", "members rollback", w.oldMembers.Encode()},
		{"fork", "members", "members fork", fork.Encode()},
	}
}

// memberBlockFaults are about what lies beside the chain, and about what an
// owner could sign but nobody could use.
func memberBlockFaults(w *world) []fault {
	t, m := w.t, w.m
	good := m.Encode()
	vault := m.Vault()
	// The attack of somebody who knows only the public keys: their own KEK,
	// sealed to every identity, in place of the real seals.
	forged := bytes.Clone(good)
	for _, p := range []*person{w.owner, w.member} {
		theirs := p.seal(random32(), vault, 2)
		old, _ := m.Seal(2, p.id)
		forged = sub(forged, b64(old.Sealed[:]), b64(theirs.Sealed[:]))
	}
	blocks := len(m.Records()) + 1
	sign := func(changes ...keyring.Change) []byte {
		return must(m.Append(w.owner.halves, changes...))(t).Encode()
	}
	weaker, flipped := w.owner.block(vault), w.owner.block(vault)
	weaker.KDF.Time++
	flipped.Halves[70] ^= 1
	elsewhere := w.owner.seal(w.keks[2], id.Vault{1}, 3)
	noise := sign(keyring.MakeKEK{Seals: []keyring.Seal{elsewhere, w.member.seal(random32(), vault, 3)}})
	seals := lines(good)[blocks : blocks+2]
	swapped := sub(sub(sub(good, sealedOf(seals[0]), "\x00"), sealedOf(seals[1]), sealedOf(seals[0])), "\x00", sealedOf(seals[1]))
	return []fault{
		{"own-kek-sealed-to-everybody", "members", "members blocks", forged},
		{"kdf-memory-changed", "members", "members blocks", sub(good, `"memory":65536`, `"memory":65537`)},
		{"kdf-salt-changed", "members", "members blocks", flip(good, `"salt":"`, 0)},
		{"share-changed", "members", "members blocks", flip(good, `"share":"`, 0)},
		{"halves-changed", "members", "members blocks", flip(good, `"halves":"`, 0)},
		{"seal-missing", "members", "members blocks", bytes.Join(slices.Delete(lines(good), blocks, blocks+1), nil)},
		{"seals-swapped", "members", "members blocks", swapped},
		{"kdf-signed-but-not-used", "members", "halves wrong-key", sign(keyring.ChangeMaster{Block: weaker})},
		{"halves-signed-but-damaged", "members", "halves damaged", sign(keyring.ChangeMaster{Block: flipped})},
		// The earlier KEK stays in use: no fault.
		{"kek-sealed-for-another-vault", "members", "", noise},
	}
}

// sealedOf is the sealed KEK in a seal's line.
func sealedOf(line []byte) string {
	_, after, _ := bytes.Cut(line, []byte(`"sealed":"`))
	before, _, _ := bytes.Cut(after, []byte(`"`))
	return string(before)
}

func deksFaults(w *world) []fault {
	good := w.encode(w.d)
	all := lines(good)
	own := random32()
	signed := func(data []byte) []byte { return resign(w, 2, w.keks[2], w.owner, data) }
	stranger := newPerson(w.t, "a stranger")
	dekOf := func(i int) string {
		_, after, _ := bytes.Cut(all[i], []byte(`"dek":"`))
		before, _, _ := bytes.Cut(after, []byte(`"`))
		return string(before)
	}
	swapped := sub(sub(sub(good, dekOf(1), "\x00"), dekOf(2), dekOf(1)), "\x00", dekOf(2))
	rival, _, err := w.d.Apply(keyring.Update{}, w.m, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	number := func(kek, epoch uint64) string { return fmt.Sprintf(`"kek":%d,"epoch":%d,`, kek, epoch) }
	now, later := number(2, w.d.Epoch()), number(2, w.d.Epoch()+1)
	next := sub(good, now, later)
	tombstone := len(all) - 2
	head := slices.IndexFunc(all, func(line []byte) bool { return bytes.Contains(line, []byte(`"superseded":0`)) })
	return []fault{
		{"version-2", "deks", "deks version", sub(good, `"version":1`, `"version":2`)},
		{"white-space", "deks", "deks syntax", signed(sub(good, `,"kek"`, `, "kek"`))},
		{"cut", "deks", "deks syntax", bytes.Join(all[:len(all)-1], nil)},
		{"line-twice", "deks", "deks syntax", signed(bytes.Join(slices.Insert(slices.Clone(all), 1, all[1]), nil))},
		{"not-sorted", "deks", "deks syntax", signed(bytes.Join(append([][]byte{all[0], all[2], all[1]}, all[3:]...), nil))},
		{"epoch-beyond-the-limit", "deks", "deks syntax", signed(sub(good, now, number(2, keyring.MaxEpoch+1)))},
		{"another-vault", "deks", "deks vault", signed(sub(good, w.m.Vault().String(), id.Vault{1}.String()))},
		{"rollback", "deks", "deks rollback", w.oldDeks},
		{"fork", "deks", "deks fork", signed(sub(good, `"superseded":0`, `"superseded":1`))},
		{"a-leap-of-epochs", "deks", "deks fork", signed(sub(good, now, number(2, w.d.Epoch()+keyring.MaxStep+1)))},
		{"later-without-a-tombstone", "deks", "deks fork", signed(sub(next, string(all[tombstone]), ""))},
		{"later-without-a-revision", "deks", "deks fork", signed(sub(next, string(all[head]), ""))},
		{"later-with-another-line", "deks", "deks fork", signed(flip(next, `"line":"`, 0))},
		{"later-and-looser", "deks", "deks fork", signed(sub(next, `"tightens":1`, `"tightens":0`))},
		{"own-kek-right-mac", "deks", "deks mac", resign(w, 2, own, w.owner, next)},
		{"own-kek-new-version", "deks", "deks kek", resign(w, 3, own, w.owner, sub(good, now, number(3, 1)))},
		{"retired-kek", "deks", "deks rollback", resign(w, 1, w.keks[1], w.owner, sub(good, now, number(1, w.d.Epoch()+1)))},
		{"head-nobody-wrote", "deks", "deks head", signed(sub(next, w.d.Head().String(), id.Hash{1}.String()))},
		{"written-by-a-stranger", "deks", "deks authorisation", resign(w, 2, w.keks[2], stranger, sub(next, w.owner.id.String(), stranger.id.String()))},
		{"signed-by-another", "deks", "deks signature", resign(w, 2, w.keks[2], w.member, next)},
		{"deks-swapped-without-end", "deks", "deks signature", sub(swapped, now, later)},
		{"deks-swapped", "deks", "dek wrong-key", signed(sub(swapped, now, later))},
		{"tombstone-and-dek", "deks", "deks syntax", signed(sub(next, `{"tombstone":"`+w.c.String(), `{"tombstone":"`+w.a.String()))},
		{"", "deks", "", must(rival.Encode(w.member.halves, w.mac))(w.t)}, // one epoch on, by the member: good
	}
}
