package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"testing"

	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// tokenBody is the body of an add message for a key in a security key.
func tokenBody(t testing.TB) []byte {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.AppendString(wire.AppendString(wire.AppendString(nil, keypair.TokenEd25519), public), "ssh:")
	b = wire.AppendString(wire.AppendString(append(b, 1), "the handle"), "")
	return wire.AppendString(b, "comment")
}

// TestAWaitForATouch: the keeper speaks to ssh-sk-helper itself, signs with other keys
// meanwhile, and ends when it is to, touch or no touch.
func TestAWaitForATouch(t *testing.T) {
	c := start(t, id.Vault{})
	token, err := c.Add(t.Context(), guarded(t, tokenBody(t)), false)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, sign(t, c, token.Key), keeper.ErrUnsupported)
	s := generate(t, "ed25519", 0)
	other, err := c.Add(t.Context(), guarded(t, addBody(s, "comment")), false)
	if err != nil {
		t.Fatal(err)
	}
	helper, end, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer helper.Close()
	defer end.Close()
	waited := make(chan error)
	go func() {
		_, err := c.SignThrough(t.Context(), token.Key, []byte("data"), "internal", end, nil, nil)
		waited <- err
	}()
	// What the helper is asked, the front hasn't seen.
	size, err := ipc.ReadLength(helper, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	request := make([]byte, size)
	if _, err := io.ReadFull(helper, request); err != nil {
		t.Fatal(err)
	}
	if r := wire.NewReader(request[10:]); string(r.String()) != string(tokenEncoding(t, request[14:])) {
		t.Fatalf("the helper is asked %q", request)
	}
	signsWith(t, c, other.Key, s)
	c.Close()
	if err := <-waited; err == nil {
		t.Error("without a touch there is a signature")
	}
}

// tokenEncoding returns the key at the start of b.
func tokenEncoding(t testing.TB, b []byte) []byte {
	t.Helper()
	r := wire.NewReader(b)
	n, err := keypair.ReadToken(&r, string(r.String()))
	if err != nil || string(n.Handle) != "the handle" {
		t.Fatalf("no key is in %q: %v", b, err)
	}
	return b[:len(b)-r.Len()]
}

// TestSignThroughRefuses keys that aren't in a security key, or not there.
func TestSignThroughRefuses(t *testing.T) {
	c := start(t, id.Vault{})
	s := generate(t, "ed25519", 0)
	plain, err := c.Add(t.Context(), guarded(t, addBody(s, "comment")), false)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key  uint64
		want error
	}{
		"a key that is here": {plain.Key, keeper.ErrUnsupported},
		"no key":             {plain.Key + 1, keeper.ErrNoKey},
	} {
		t.Run(name, func(t *testing.T) {
			helper, end, err := ipc.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			helper.Close()
			_, err = c.SignThrough(t.Context(), tt.key, []byte("data"), "internal", end, nil, nil)
			wantErr(t, err, tt.want)
		})
	}
}

// TestTheEndDoesNotWaitForATouch: a lock wipes the keys at once.
func TestTheEndDoesNotWaitForATouch(t *testing.T) {
	helper, end, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer helper.Close()
	defer end.Close()
	s := &server{}
	s.busy.RLock() // by the request
	answered := make(chan error)
	go func() {
		_, err := io.ReadFull(leisurely{fdConn(end.Fd()), s}, make([]byte, 1))
		answered <- err
	}()
	s.busy.Lock() // by the end
	_, err = helper.Write([]byte{0})
	s.busy.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil || s.busy.TryLock() {
		t.Errorf("%v, or the end doesn't wait for the rest of the request", err)
	}
}
