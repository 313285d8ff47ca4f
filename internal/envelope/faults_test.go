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
	expect string // the stage that must refuse it
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

func remac(w *world, kek uint64, key, deks []byte) []byte {
	w.t.Helper()
	all := lines(deks)
	body := bytes.Join(all[:len(all)-1], nil)
	mac := must(envelope.DeksMAC(key, w.m.Vault(), kek, body))(w.t)
	return fmt.Appendf(body, "{\"mac\":\"%s\"}\n", b64(mac[:]))
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
	// A line whose secret has the right seal around wrong padding.
	d, _ := w.d.Lookup(first.Revision)
	dek := make([]byte, 32)
	if err := envelope.UnwrapDEK(dek, w.keks[d.KEK], w.m.Vault(), d); err != nil {
		t.Fatal(err)
	}
	vault := w.m.Vault()
	var parents []byte
	for _, p := range first.Parents {
		parents = append(parents, p[:]...)
	}
	context := envelope.NewContext("vigil v1 secret", vault[:], first.Item[:], first.Revision[:], parents, envelope.Uint(first.Epoch))
	unpadded := must(envelope.Seal(dek, context, make([]byte, 512)))(t)
	long := make([]byte, 1024)
	long[3] = 0x80
	overpadded := must(envelope.Seal(dek, context, long))(t)

	return []fault{
		{"header-missing", "vault", "vault header", bytes.Join(all[1:], nil)},
		{"version-2", "vault", "vault version", sub(good, `"version":1`, `"version":2`)},
		{"another-vault", "vault", "vault vault", sub(good, w.m.Vault().String(), id.Vault{1}.String())},
		{"white-space", "vault", "vault syntax", sub(good, `,"epoch"`, `, "epoch"`)},
		{"cut", "vault", "vault syntax", good[:len(good)-100]},
		{"unknown-member", "vault", "vault syntax", sub(good, `,"secret"`, `,"x":0,"secret"`)},
		{"meta-salt-flipped", "vault", "meta wrong-key", at(1, func(r *vaultfile.Revision) { r.Meta[0] ^= 1 })},
		{"meta-commitment-flipped", "vault", "meta wrong-key", at(1, func(r *vaultfile.Revision) { r.Meta[32] ^= 1 })},
		{"meta-ciphertext-flipped", "vault", "meta damaged", at(1, func(r *vaultfile.Revision) { r.Meta[64] ^= 1 })},
		{"meta-tag-flipped", "vault", "meta damaged", at(1, func(r *vaultfile.Revision) { r.Meta[len(r.Meta)-1] ^= 1 })},
		{"secret-ciphertext-flipped", "vault", "secret damaged", at(1, func(r *vaultfile.Revision) { r.Secret[100] ^= 1 })},
		{"metas-swapped", "vault", "meta wrong-key", at(1, func(r *vaultfile.Revision) { r.Meta = second.Meta })},
		{"secrets-swapped", "vault", "secret wrong-key", at(1, func(r *vaultfile.Revision) { r.Secret = second.Secret })},
		{"meta-as-secret", "vault", "secret wrong-key", at(1, func(r *vaultfile.Revision) { r.Secret = r.Meta })},
		{"epoch-changed", "vault", "meta wrong-key", at(1, func(r *vaultfile.Revision) { r.Epoch++ })},
		{"parents-changed", "vault", "meta wrong-key", at(1, func(r *vaultfile.Revision) { r.Parents = []id.Revision{{1}} })},
		{"secret-without-padding", "vault", "secret padding", at(1, func(r *vaultfile.Revision) { r.Secret = unpadded })},
		{"secret-padded-too-far", "vault", "secret padding", at(1, func(r *vaultfile.Revision) { r.Secret = overpadded })},
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
		return bodyStart(m, by, keyring.IdentityAdded) + fmt.Sprintf(`,"identity":"%v","role":"owner","hpke":"%s","ed25519":"%s"}`,
			stranger.id, b64(stranger.public.HPKE[:]), b64(stranger.public.Ed25519[:]))
	}
	fork := must(w.oldMembers.Append(w.owner.halves, keyring.SetUnlock{Block: w.owner.block(m.Vault())}))(t)
	for len(fork.Records()) <= len(m.Records()) {
		fork = must(fork.Append(w.owner.halves, keyring.SetUnlock{Block: w.owner.block(m.Vault())}))(t)
	}
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
	elsewhere := w.owner.seal(w.keks[2], id.Vault{1}, 2)
	otherVersion := w.owner.seal(w.keks[2], vault, 3)
	otherVersion.KEK = 2
	return []fault{
		{"own-kek-sealed-to-everybody", "members", "members blocks", forged},
		{"kdf-memory-changed", "members", "members blocks", sub(good, `"memory":65536`, `"memory":65537`)},
		{"kdf-salt-changed", "members", "members blocks", flip(good, `"salt":"`, 0)},
		{"share-changed", "members", "members blocks", flip(good, `"share":"`, 0)},
		{"halves-changed", "members", "members blocks", flip(good, `"halves":"`, 0)},
		{"seal-missing", "members", "members blocks", bytes.Join(slices.Delete(lines(good), blocks, blocks+1), nil)},
		{"kdf-signed-but-not-used", "members", "halves wrong-key", sign(keyring.SetUnlock{Block: weaker})},
		{"halves-signed-but-damaged", "members", "halves damaged", sign(keyring.SetUnlock{Block: flipped})},
		{"kek-sealed-for-another-vault", "members", "kek wrong-key", sign(keyring.SealKEK{Seals: []keyring.Seal{elsewhere}})},
		{"kek-sealed-as-another-version", "members", "kek wrong-key", sign(keyring.SealKEK{Seals: []keyring.Seal{otherVersion}})},
	}
}

func deksFaults(w *world) []fault {
	good := w.encode(w.d)
	all := lines(good)
	own := random32()
	signed := func(data []byte) []byte { return remac(w, 2, w.keks[2], data) }
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
	later := fmt.Sprintf(`"epoch":%d,"kek":2`, w.d.Epoch()+1)
	now := fmt.Sprintf(`"epoch":%d,"kek":2`, w.d.Epoch())
	return []fault{
		{"version-2", "deks", "deks version", sub(good, `"version":1`, `"version":2`)},
		{"white-space", "deks", "deks syntax", signed(sub(good, `,"kek"`, `, "kek"`))},
		{"cut", "deks", "deks syntax", bytes.Join(all[:len(all)-1], nil)},
		{"line-twice", "deks", "deks syntax", signed(bytes.Join(slices.Insert(slices.Clone(all), 1, all[1]), nil))},
		{"not-sorted", "deks", "deks syntax", signed(bytes.Join(append([][]byte{all[0], all[2], all[1]}, all[3:]...), nil))},
		{"another-vault", "deks", "deks vault", signed(sub(good, w.m.Vault().String(), id.Vault{1}.String()))},
		{"rollback", "deks", "deks rollback", w.oldDeks},
		{"fork", "deks", "deks fork", signed(sub(good, `"superseded":0`, `"superseded":1`))},
		{"own-kek-right-mac", "deks", "deks mac", remac(w, 2, own, sub(good, now, later))},
		{"own-kek-new-version", "deks", "deks kek", remac(w, 3, own, sub(good, now, strings.Replace(later, `"kek":2`, `"kek":3`, 1)))},
		{"retired-kek", "deks", "deks rollback", remac(w, 1, w.keks[1], sub(good, now, strings.Replace(later, `"kek":2`, `"kek":1`, 1)))},
		{"head-nobody-wrote", "deks", "deks head", signed(sub(sub(good, now, later), w.d.Head().String(), id.Hash{1}.String()))},
		{"dek-left-out", "deks", "deks mac", sub(bytes.Join(slices.Delete(slices.Clone(all), 1, 2), nil), now, later)},
		{"deks-swapped-without-mac", "deks", "deks mac", sub(swapped, now, later)},
		{"deks-swapped-with-right-mac", "deks", "dek wrong-key", signed(sub(swapped, now, later))},
		{"dek-under-kek-nobody-made", "deks", "deks kek", signed(sub(sub(good, now, later), `],"kek":2`, `],"kek":7`))},
		{"tombstone-and-dek", "deks", "deks syntax", signed(sub(sub(good, now, later), `{"tombstone":"`+w.c.String(), `{"tombstone":"`+w.a.String()))},
		{"", "deks", "", must(rival.Encode(w.mac))(w.t)}, // one epoch on: good
	}
}
