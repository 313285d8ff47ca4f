package agentproto

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"vigil/internal/wire"
)

// body joins strings (with their lengths), uint32s, booleans and raw bytes.
func body(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = wire.AppendString(b, p)
		case int:
			b = wire.AppendUint32(b, uint32(p))
		case bool:
			b = wire.AppendBool(b, p)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestParseSign(t *testing.T) {
	q, err := ParseSign(body("key", "data", 4))
	if err != nil || string(q.Key) != "key" || string(q.Data) != "data" || q.Flags != FlagRSASHA512 {
		t.Fatalf("got %+v, %v", q, err)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"no flags", body("key", "data"), wire.ErrShort},
		{"no data", body("key"), wire.ErrShort},
		{"empty", nil, wire.ErrShort},
		{"more after the flags", body("key", "data", 0, []byte{0}), wire.ErrTrailing},
		{"a key of 4 GiB", []byte{255, 255, 255, 255, 'k'}, wire.ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseSign(c.in); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	sign := body("key", "data", 4)
	extension := body(ExtSessionBind, "host key", "id", "signature", true)
	if n := testing.AllocsPerRun(100, func() {
		q, err := ParseSign(sign)
		x, err2 := ParseExtension(extension)
		s, err3 := ParseSessionBind(x.Data)
		if err != nil || err2 != nil || err3 != nil || len(q.Data) != 4 || len(s.SessionID) != 2 {
			t.Fatal(err, err2, err3)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestParseRemoveAndEmpty(t *testing.T) {
	if key, err := ParseRemove(body("key")); err != nil || string(key) != "key" {
		t.Fatalf("got %q, %v", key, err)
	}
	if _, err := ParseRemove(body("key", "more")); !errors.Is(err, wire.ErrTrailing) {
		t.Fatalf("got %v", err)
	}
	if err := ParseEmpty(nil); err != nil {
		t.Fatal(err)
	}
	if err := ParseEmpty([]byte{0}); !errors.Is(err, wire.ErrTrailing) {
		t.Fatalf("got %v", err)
	}
}

func TestParsePassphrase(t *testing.T) {
	if p, err := ParsePassphrase(body("open sesame")); err != nil || string(p) != "open sesame" {
		t.Fatalf("got %q, %v", p, err)
	}
	if p, err := ParsePassphrase(body("")); err != nil || len(p) != 0 {
		t.Fatalf("empty passphrase: %q, %v", p, err)
	}
	if _, err := ParsePassphrase(body("a", "b")); !errors.Is(err, wire.ErrTrailing) {
		t.Fatalf("two passphrases: %v", err)
	}
}

func TestParseKeyTail(t *testing.T) {
	tail, err := ParseKeyTail(body("me@here"), false)
	if err != nil || string(tail.Comment) != "me@here" || tail.Constraints.Raw != nil {
		t.Fatalf("got %+v, %v", tail, err)
	}
	tail, err = ParseKeyTail(body("me@here", []byte{ConstrainConfirm}), true)
	if err != nil || !tail.Constraints.Confirm {
		t.Fatalf("got %+v, %v", tail, err)
	}
	if _, err := ParseKeyTail(body("me@here", []byte{ConstrainConfirm}), false); !errors.Is(err, wire.ErrTrailing) {
		t.Fatalf("constraints after ADD_IDENTITY: %v", err)
	}
	if _, err := ParseKeyTail(body("a\x00b"), false); !errors.Is(err, ErrInvalid) {
		t.Fatalf("zero byte: %v", err)
	}
	if _, err := ParseKeyTail(nil, true); !errors.Is(err, wire.ErrShort) {
		t.Fatalf("no comment: %v", err)
	}
}

func destination() Destination {
	return Destination{
		From: Hop{Host: "jump", Keys: []KeySpec{{Blob: []byte("jump key")}}},
		To:   Hop{User: "ro*", Host: "db1", Keys: []KeySpec{{Blob: []byte("db key")}, {Blob: []byte("ca key"), CA: true}}},
	}
}

func TestConstraintsRoundTrip(t *testing.T) {
	want := Constraints{Lifetime: 3600, HasLifetime: true, Confirm: true, To: []Destination{destination(), {To: destination().To}}}
	raw := appendConstraints(nil, want)
	got, err := ParseConstraints(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Raw, raw) || got.Lifetime != 3600 || !got.Confirm || len(got.To) != 2 {
		t.Fatalf("got %+v", got)
	}
	clone := got.Clone()
	if again := appendConstraints(nil, clone); !bytes.Equal(again, raw) {
		t.Fatalf("encoded again:\n%x\nfirst:\n%x", again, raw)
	}
	clear(raw)
	if string(clone.To[0].To.Keys[1].Blob) != "ca key" || slices.Equal(clone.Raw, raw) {
		t.Fatal("the clone aliases the message")
	}
}

func TestParseConstraintsRefuses(t *testing.T) {
	lifetime := body([]byte{ConstrainLifetime}, 60)
	restrict := func(ds ...Destination) []byte {
		return body([]byte{ConstrainExtension}, ExtRestrictDest, string(AppendDestinations(nil, ds)))
	}
	with := func(change func(*Destination)) []byte {
		d := destination()
		change(&d)
		return restrict(d)
	}
	many := make([]Destination, MaxDestinations+1)
	for i := range many {
		many[i] = destination()
	}
	// A destination whose last, reserved field is in use.
	one := body(string(appendHop(nil, &Hop{})), string(appendHop(nil, &Hop{Host: "h", Keys: []KeySpec{{Blob: []byte("k")}}})), "future")
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"a number not assigned", []byte{3}, ErrUnsupported},
		{"number zero", []byte{0}, ErrUnsupported},
		{"half a lifetime", lifetime[:3], wire.ErrShort},
		{"two lifetimes", append(bytes.Clone(lifetime), lifetime...), ErrInvalid},
		{"two confirms", []byte{ConstrainConfirm, ConstrainConfirm}, ErrInvalid},
		{"an unknown extension", body([]byte{ConstrainExtension}, "associated-certs-v00@openssh.com", "x"), ErrUnsupported},
		{"an empty provider", body([]byte{ConstrainExtension}, "sk-provider@openssh.com", ""), ErrInvalid},
		{"a provider with a zero byte", body([]byte{ConstrainExtension}, "sk-provider@openssh.com", "a\x00b"), ErrInvalid},
		{"a provider twice", body([]byte{ConstrainExtension}, "sk-provider@openssh.com", "internal", []byte{ConstrainExtension}, "sk-provider@openssh.com", "internal"), ErrInvalid},
		{"an extension without a name", []byte{ConstrainExtension}, wire.ErrShort},
		{"associated certificates on a key", body([]byte{ConstrainExtension}, "associated-certs-v00@openssh.com", true, ""), ErrUnsupported},
		{"something unknown after a good one", append(bytes.Clone(lifetime), 9), ErrUnsupported},
		{"destinations given twice", append(restrict(destination()), restrict(destination())...), ErrInvalid},
		{"no destination", restrict(), ErrInvalid},
		{"too many destinations", restrict(many...), ErrInvalid},
		{"a from user", with(func(d *Destination) { d.From.User = "me" }), ErrInvalid},
		{"from a host without keys", with(func(d *Destination) { d.From.Keys = nil }), ErrInvalid},
		{"from keys without a host", with(func(d *Destination) { d.From.Host = "" }), ErrInvalid},
		{"to no host", with(func(d *Destination) { d.To.Host = "" }), ErrInvalid},
		{"to a host without keys", with(func(d *Destination) { d.To.Keys = nil }), ErrInvalid},
		{"an empty host key", with(func(d *Destination) { d.To.Keys[0].Blob = nil }), ErrInvalid},
		{"a zero byte in the host", with(func(d *Destination) { d.To.Host = "db\x001" }), ErrInvalid},
		{"a zero byte in the user", with(func(d *Destination) { d.To.User = "root\x00" }), ErrInvalid},
		{"a user pattern of 257 bytes", with(func(d *Destination) { d.To.User = strings.Repeat("u", MaxUserPattern+1) }), ErrInvalid},
		{"a reserved field in use", body([]byte{ConstrainExtension}, ExtRestrictDest, string(body(string(one)))), ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := ParseConstraints(c.in); !errors.Is(err, c.want) {
				t.Fatalf("got %+v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestErrorsCarryLittleOfAPeersText(t *testing.T) {
	name := strings.Repeat("n", 10_000) + "\x1b[31m"
	_, err := ParseConstraints(body([]byte{ConstrainExtension}, name))
	if err == nil || len(err.Error()) > 150 || strings.Contains(err.Error(), "\x1b") {
		t.Fatalf("got %v", err)
	}
}

func TestSessionBindRoundTrip(t *testing.T) {
	want := SessionBind{HostKey: []byte("host"), SessionID: []byte("id"), Signature: []byte("sig"), Forwarding: true}
	frame := appendSessionBind(nil, want)
	x, err := ParseExtension(frame[HeaderLen:])
	if err != nil || string(x.Name) != ExtSessionBind {
		t.Fatalf("got %q, %v", x.Name, err)
	}
	got, err := ParseSessionBind(x.Data)
	if err != nil || !bytes.Equal(appendSessionBind(nil, got), frame) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"no forwarding flag", body("host", "id", "sig"), wire.ErrShort},
		{"a forwarding flag of 2", body("host", "id", "sig", []byte{2}), wire.ErrBool},
		{"an empty session id", body("host", "", "sig", true), ErrInvalid},
		{"a session id of 129 bytes", body("host", strings.Repeat("i", MaxSessionID+1), "sig", true), ErrInvalid},
		{"more after the flag", body("host", "id", "sig", true, []byte{0}), wire.ErrTrailing},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseSessionBind(c.in); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestParseUserauth(t *testing.T) {
	request := func(change func(map[string]any)) []byte {
		f := map[string]any{
			"session": "id", "number": []byte{50}, "user": "root", "service": "ssh-connection", "method": "publickey",
			"signed": []byte{1}, "algorithm": "ssh-ed25519", "key": "key", "host": []byte{},
		}
		if change != nil {
			change(f)
		}
		return body(f["session"], f["number"], f["user"], f["service"], f["method"], f["signed"], f["algorithm"], f["key"], f["host"])
	}
	u, ok := ParseUserauth(request(nil))
	if !ok || string(u.User) != "root" || string(u.Algorithm) != "ssh-ed25519" || string(u.Key) != "key" || u.HostKey != nil {
		t.Fatalf("got %+v, %v", u, ok)
	}
	u, ok = ParseUserauth(request(func(f map[string]any) {
		f["method"], f["host"] = "publickey-hostbound-v00@openssh.com", "host"
	}))
	if !ok || string(u.HostKey) != "host" {
		t.Fatalf("got %+v, %v", u, ok)
	}
	for _, c := range []struct{ field, name string }{
		{"session", ""},
		{"service", "ssh-userauth"},
		{"method", "password"},
		{"method", "publickey-hostbound-v00@openssh.com"},
		{"user", "root\x00"},
	} {
		if _, ok := ParseUserauth(request(func(f map[string]any) { f[c.field] = c.name })); ok {
			t.Errorf("%s %q: a login", c.field, c.name)
		}
	}
	for field, raw := range map[string][]byte{"number": {51}, "signed": {0}, "host": {0, 0, 0, 0}} {
		if _, ok := ParseUserauth(request(func(f map[string]any) { f[field] = raw })); ok {
			t.Errorf("%s %x: a login", field, raw)
		}
	}
}

func TestParseSSHSig(t *testing.T) {
	data := body([]byte("SSHSIG"), "git", "", "sha512", "hash")
	if s, ok := ParseSSHSig(data); !ok || string(s.Namespace) != "git" {
		t.Fatalf("got %+v, %v", s, ok)
	}
	for _, bad := range [][]byte{data[1:], data[:len(data)-1], append(bytes.Clone(data), 0), nil} {
		if _, ok := ParseSSHSig(bad); ok {
			t.Errorf("%x passes for an SSHSIG", bad)
		}
	}
}

func TestSecretCoversEverythingNotKnownHarmless(t *testing.T) {
	harmless := []byte{1, MsgRemoveAllRSA, MsgRequestIdentities, MsgSignRequest, MsgRemoveIdentity, MsgRemoveAllIdentities, MsgExtension}
	for n := range 256 {
		if Secret(byte(n)) == slices.Contains(harmless, byte(n)) {
			t.Errorf("message %d", n)
		}
	}
}
