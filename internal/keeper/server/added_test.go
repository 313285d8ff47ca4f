package server

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/wire"
)

func TestReportSaysWhatProtectsTheKeeper(t *testing.T) {
	r := start(t, id.Vault{}).Report()
	if !r.Undumpable || !slices.Contains(r.Holds, "no_core") {
		t.Fatalf("report is %+v", r)
	}
	for _, part := range []string{"seccomp", "landlock"} {
		if !slices.Contains(r.Holds, part) && len(r.Missing) == 0 {
			t.Fatalf("%s neither holds nor is missing: %+v", part, r)
		}
	}
}

func TestKeysOfEveryTypeSign(t *testing.T) {
	c := start(t, id.Vault{})
	data := make([]byte, 300)
	rand.Read(data)
	for _, s := range samples(t) {
		t.Run(fmt.Sprintf("%s %d", s.name, len(s.public)), func(t *testing.T) {
			a := add(t, c, s)
			if !bytes.Equal(a.Blob, s.public) || !bytes.Equal(a.Plain, s.public) || a.Comment != "comment" || len(a.Constraints) != 0 {
				t.Fatalf("added %+v", a)
			}
			for _, flags := range s.flags {
				sig, err := c.Sign(t.Context(), a.Key, data, flags, []byte("before"))
				if err != nil {
					t.Fatal(err)
				}
				if err := verify(s.public, data, bytes.TrimPrefix(sig, []byte("before"))); err != nil {
					t.Fatalf("flags %d: %v", flags, err)
				}
			}
		})
	}
}

func TestSignaturesThatAreRefused(t *testing.T) {
	c := start(t, id.Vault{})
	ed, rsa := add(t, c, ed25519Key(t)), add(t, c, generate(t, "rsa", 2048))
	for _, tt := range []struct {
		name  string
		key   uint64
		flags uint32
		want  error
	}{
		{"unknown flags", ed.Key, 8, keeper.ErrUnsupported},
		{"RSA with SHA-1", rsa.Key, 0, keeper.ErrUnsupported},
		{"no such key", ed.Key + 1000, 0, keeper.ErrNoKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Sign(t.Context(), tt.key, []byte("data"), tt.flags, nil)
			wantErr(t, err, tt.want)
		})
	}
	if err := sign(t, c, ed.Key); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	c := start(t, id.Vault{})
	s, other := ed25519Key(t), ed25519Key(t)
	mixed := bytes.Replace(addBody(s, ""), s.public[len(s.public)-32:], other.public[len(other.public)-32:], 1)
	for _, tt := range []struct {
		name  string
		body  []byte
		bound bool
		want  error
	}{
		{"nothing", []byte{0}, false, keeper.ErrBadRequest},
		{"cut", s.encoding[:len(s.encoding)-1], false, keeper.ErrBadRequest},
		{"without comment", s.encoding, false, keeper.ErrBadRequest},
		{"bytes after the comment", append(addBody(s, ""), 0), false, keeper.ErrBadRequest},
		{"public half of another key", mixed, false, keeper.ErrBadRequest},
		{"unknown type", wire.AppendString(nil, "ssh-dss"), false, keeper.ErrUnsupported},
		{"unknown constraint", append(addBody(s, ""), 99), true, keeper.ErrBadRequest},
		{"lifetime cut short", append(addBody(s, ""), 1, 0, 0), true, keeper.ErrBadRequest},
		{"lifetime twice", append(addBody(s, ""), 1, 0, 0, 0, 9, 1, 0, 0, 0, 9), true, keeper.ErrBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Add(t.Context(), guarded(t, tt.body), tt.bound)
			wantErr(t, err, tt.want)
		})
	}
	stats, err := c.Stats(t.Context())
	if err != nil || stats.Keys != 0 {
		t.Fatalf("%d keys were kept, %v", stats.Keys, err)
	}
}

func TestRemovedKeysAreGone(t *testing.T) {
	c := start(t, id.Vault{})
	before, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b, d := add(t, c, ed25519Key(t)), add(t, c, ed25519Key(t)), add(t, c, ed25519Key(t))
	if err := c.Remove(t.Context(), a.Key); err != nil {
		t.Fatal(err)
	}
	wantErr(t, sign(t, c, a.Key), keeper.ErrNoKey)
	wantErr(t, c.Remove(t.Context(), a.Key), keeper.ErrNoKey)
	if err := sign(t, c, b.Key); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, sign(t, c, b.Key), keeper.ErrNoKey)
	wantErr(t, sign(t, c, d.Key), keeper.ErrNoKey)
	after, err := c.Stats(t.Context())
	if err != nil || after.Used != before.Used || after.Keys != 0 {
		t.Fatalf("%d bytes of guarded memory in use, %d at the start; %d keys; %v", after.Used, before.Used, after.Keys, err)
	}
	if again := add(t, c, ed25519Key(t)); again.Key <= d.Key {
		t.Fatalf("number %d was used before", again.Key)
	}
}

// TestLifetimesEndInTheKeeper: the keeper enforces lifetimes without the front.
func TestLifetimesEndInTheKeeper(t *testing.T) {
	c := start(t, id.Vault{})
	for range 3 {
		addFor(t, c, ed25519Key(t), 1)
	}
	lasting, atOnce := addFor(t, c, ed25519Key(t), 3600), addFor(t, c, ed25519Key(t), 0)
	if !bytes.Equal(lasting.Constraints, []byte{1, 0, 0, 14, 16}) {
		t.Fatalf("constraints %v", lasting.Constraints)
	}
	wantErr(t, sign(t, c, atOnce.Key), keeper.ErrNoKey)
	for keys := 4; keys > 1; { // until only the lasting key is left
		s, err := c.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys = s.Keys
	}
	if err := sign(t, c, lasting.Key); err != nil {
		t.Fatal(err)
	}
}

func TestLockedBySSHAdd(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	pass := func(s string) []byte { return wire.AppendString(nil, s) }
	lock := func(p []byte) error { return c.Lock(t.Context(), guarded(t, p)) }
	unlock := func(p []byte) error { return c.Unlock(t.Context(), guarded(t, p)) }

	wantErr(t, unlock(pass("secret")), keeper.ErrRefused)
	wantErr(t, lock(pass("")), keeper.ErrRefused)
	wantErr(t, lock([]byte{0, 0, 0, 9, 'x'}), keeper.ErrBadRequest)
	wantErr(t, lock(append(pass("secret"), 0)), keeper.ErrBadRequest)
	if err := lock(pass("secret")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, sign(t, c, a.Key), keeper.ErrRefused)
	wantErr(t, lock(pass("other")), keeper.ErrRefused)
	wantErr(t, unlock(pass("other")), keeper.ErrWrongPassphrase)
	wantErr(t, unlock(pass("")), keeper.ErrWrongPassphrase)
	wantErr(t, sign(t, c, a.Key), keeper.ErrRefused)
	if err := unlock(pass("secret")); err != nil {
		t.Fatal(err)
	}
	if err := sign(t, c, a.Key); err != nil {
		t.Fatal(err)
	}
}

// TestAHundredClientsSignAtOnce: every reply belongs to its request.
func TestAHundredClientsSignAtOnce(t *testing.T) {
	c := start(t, id.Vault{})
	keys := []sample{ed25519Key(t), generate(t, "ecdsa", 256)}
	numbers := []uint64{add(t, c, keys[0]).Key, add(t, c, keys[1]).Key}
	errs := make(chan error, 100)
	for client := range cap(errs) {
		go func() {
			errs <- func() error {
				for i := range 100 {
					// Sometimes longer than either end's buffer.
					data := bytes.Repeat([]byte{byte(client)}, 100+(i%20)*1000)
					binary.BigEndian.PutUint32(data, uint32(i))
					which := (client + i) % 2
					sig, err := c.Sign(t.Context(), numbers[which], data, 0, nil)
					if err != nil {
						return err
					}
					if i%10 == 0 { // verifying costs more than signing
						if err := verify(keys[which].public, data, sig); err != nil {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestKeysComeAndGoWhileOthersSign(t *testing.T) {
	c := start(t, id.Vault{})
	s := ed25519Key(t)
	steady := add(t, c, s)
	var wg sync.WaitGroup
	for range 8 {
		mine := ed25519Key(t)
		body := guarded(t, addBody(mine, ""))
		wg.Go(func() {
			for range 50 {
				a, err := c.Add(t.Context(), body, false)
				if err != nil {
					t.Error(err)
					return
				}
				if sig, err := c.Sign(t.Context(), a.Key, []byte("x"), 0, nil); err != nil || verify(mine.public, []byte("x"), sig) != nil {
					t.Errorf("sign with a key of its own: %v", err)
				}
				if err := c.Remove(t.Context(), a.Key); err != nil {
					t.Error(err)
				}
				if _, err := c.Sign(t.Context(), a.Key, []byte("x"), 0, nil); !errors.Is(err, keeper.ErrNoKey) {
					t.Errorf("sign with a removed key: %v", err)
				}
				if _, err := c.Sign(t.Context(), steady.Key, []byte("x"), 0, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLargeMessages(t *testing.T) {
	c := start(t, id.Vault{})
	s := ed25519Key(t)
	comment := string(bytes.Repeat([]byte("c"), maxAgentBody-len(s.encoding)-4))
	a, err := c.Add(t.Context(), guarded(t, addBody(s, comment)), false)
	if err != nil || a.Comment != comment {
		t.Fatalf("add a key with a comment of %d bytes: %v", len(comment), err)
	}
	for _, n := range []int{0, 1, keeper.SmallMessage - keeper.HeaderLen - 12 - 1, keeper.SmallMessage - keeper.HeaderLen - 12, keeper.SmallMessage - keeper.HeaderLen - 12 + 1, maxAgentBody, 4 << 20} {
		data := make([]byte, n)
		rand.Read(data)
		sig, err := c.Sign(t.Context(), a.Key, data, 0, nil)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := verify(s.public, data, sig); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// TestSignatureCostsTheFrontNoMemory: signing is one write and one read, in existing
// buffers.
func TestSignatureCostsTheFrontNoMemory(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	data, reply := make([]byte, 300), make([]byte, 0, 1<<10)
	least := math.Inf(1) // other goroutines of this process may also allocate
	for range 10 {
		least = min(least, testing.AllocsPerRun(20, func() {
			if _, err := c.Sign(t.Context(), a.Key, data, 0, reply); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if least > 0 && !raceBuild {
		t.Fatalf("%v allocations", least)
	}
}

func TestAContextThatEndedAsksNothing(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	for range 100 { // both a free connection and the context's end are there
		if _, err := c.Sign(cancelled(), a.Key, []byte("x"), 0, nil); err == nil {
			t.Fatal("signed")
		}
	}
}
