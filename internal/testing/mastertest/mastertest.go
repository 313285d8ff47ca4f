// Package mastertest tests master keys against the contract of [master.Key].
package mastertest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/master"
)

// parallel is the number of concurrent calls.
const parallel = 16

// Alice is the suite's context for wrapping shares. Its fields are distinct and not zero.
var Alice = master.Context{Vault: [32]byte{1, 2, 3}, Identity: [16]byte{4, 5, 6}, Purpose: master.PurposeUnlock}

// Keys are the suite's subjects.
type Keys struct {
	// Key is the master key under test.
	Key master.Key
	// Other is a second master key of the same kind, which must not open what Key wrapped.
	Other     master.Key
	Self      master.URI // Key's URI, for Rewrap
	Elsewhere master.URI // URI of a master key of another kind
}

// Run runs the suite; open is called once per subtest.
func Run(t *testing.T, open func(t *testing.T) Keys) {
	t.Helper()
	for _, tc := range []struct {
		name string
		run  func(*testing.T, Keys)
	}{
		{"generate, decrypt", generateDecrypt},
		{"shares are new each time", sharesAreNew},
		{"the wrapped share holds no plaintext", noPlaintext},
		{"another context", anotherContext},
		{"another key", anotherKey},
		{"a damaged wrapped share", damaged},
		{"misuse", misuse},
		{"cancelled", cancelled},
		{"rewrap", rewrap},
		{"rewrap of a damaged share", rewrapDamaged},
		{"rewrap to another kind", rewrapElsewhere},
		{"check", check},
		{"at once", atOnce},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, open(t)) })
	}
}

// Share returns guarded memory for one share, freed when the test ends.
func Share(t *testing.T) []byte {
	t.Helper()
	slab, err := guard.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := slab.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := slab.Alloc(master.ShareSize)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func generate(t *testing.T, k master.Key) (share, wrapped []byte) {
	t.Helper()
	share = Share(t)
	wrapped, err := k.Generate(t.Context(), share, Alice)
	if err != nil {
		t.Fatal(err)
	}
	if wiped(share) {
		t.Fatal("the share is all zeros")
	}
	if len(wrapped) == 0 || len(wrapped) > master.MaxWrapped {
		t.Fatalf("the wrapped share has %d bytes, want 1 to %d", len(wrapped), master.MaxWrapped)
	}
	return share, wrapped
}

func wiped(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

// wantRefusal checks that decrypting fails with kind and leaves no share.
func wantRefusal(t *testing.T, k master.Key, wrapped []byte, c master.Context, kind error) {
	t.Helper()
	dst := Share(t)
	dst[0] = 1
	err := k.Decrypt(t.Context(), dst, wrapped, c)
	if !errors.Is(err, kind) {
		t.Fatalf("Decrypt: %v, want %v", err, kind)
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("Decrypt: %v is a %T, want a *fault.Error", err, err)
	}
	if e.Op == "" || e.Next == "" {
		t.Errorf("the error names operation %q and next step %q, want both", e.Op, e.Next)
	}
	if !wiped(dst) {
		t.Error("a failed Decrypt left something in dst")
	}
}

func generateDecrypt(t *testing.T, k Keys) {
	share, wrapped := generate(t, k.Key)
	got := Share(t)
	for range 2 {
		if err := k.Key.Decrypt(t.Context(), got, wrapped, Alice); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, share) {
			t.Fatal("another share came back")
		}
		guard.Wipe(got)
	}
}

func sharesAreNew(t *testing.T, k Keys) {
	share1, wrapped1 := generate(t, k.Key)
	share2, wrapped2 := generate(t, k.Key)
	if bytes.Equal(share1, share2) || bytes.Equal(wrapped1, wrapped2) {
		t.Error("two shares are the same")
	}
}

func noPlaintext(t *testing.T, k Keys) {
	share, wrapped := generate(t, k.Key)
	for i := 0; i+8 <= len(share); i++ {
		if bytes.Contains(wrapped, share[i:i+8]) {
			t.Fatalf("bytes %d to %d of the share stand in the wrapped share", i, i+8)
		}
	}
}

func anotherContext(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	vault, identity, purpose := Alice, Alice, Alice
	vault.Vault[31] ^= 1
	identity.Identity[15] ^= 1
	purpose.Purpose = master.PurposeUnattended
	for name, c := range map[string]master.Context{"vault": vault, "identity": identity, "purpose": purpose} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, k.Key, wrapped, c, fault.ErrMisconfigured) })
	}
}

func anotherKey(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	wantRefusal(t, k.Other, wrapped, Alice, fault.ErrMisconfigured)
}

func damaged(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	flip := func(i int) []byte {
		b := bytes.Clone(wrapped)
		b[i] ^= 1
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":        {},
		"first byte":     flip(0),
		"a middle byte":  flip(len(wrapped) / 2),
		"last byte":      flip(len(wrapped) - 1),
		"cut":            wrapped[:len(wrapped)-1],
		"lengthened":     append(bytes.Clone(wrapped), 0),
		"beyond a limit": make([]byte, master.MaxWrapped+1),
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, k.Key, b, Alice, fault.ErrMisconfigured) })
	}
}

func misuse(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	for _, size := range []int{0, master.ShareSize - 1, master.ShareSize + 1} {
		if _, err := k.Key.Generate(t.Context(), make([]byte, size), Alice); err == nil {
			t.Errorf("Generate into %d bytes", size)
		}
		if err := k.Key.Decrypt(t.Context(), make([]byte, size), wrapped, Alice); err == nil {
			t.Errorf("Decrypt into %d bytes", size)
		}
	}
	if _, err := k.Key.Generate(t.Context(), Share(t), master.Context{}); err == nil {
		t.Error("Generate without a context")
	}
}

func cancelled(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dst := Share(t)
	if err := k.Key.Decrypt(ctx, dst, wrapped, Alice); !errors.Is(err, context.Canceled) {
		t.Errorf("Decrypt with an ended context: %v", err)
	}
	if !wiped(dst) {
		t.Error("a cancelled Decrypt left something in dst")
	}
	if _, err := k.Key.Generate(ctx, dst, Alice); !errors.Is(err, context.Canceled) {
		t.Errorf("Generate with an ended context: %v", err)
	}
}

func rewrap(t *testing.T, k Keys) {
	share, wrapped := generate(t, k.Key)
	again, err := k.Key.Rewrap(t.Context(), wrapped, Alice, k.Self)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(again, wrapped) {
		t.Error("Rewrap returned the same bytes")
	}
	got := Share(t)
	if err := k.Key.Decrypt(t.Context(), got, again, Alice); err != nil || !bytes.Equal(got, share) {
		t.Errorf("Decrypt after Rewrap: %v, share came back: %v", err, bytes.Equal(got, share))
	}
	other := Alice
	other.Identity[0] ^= 1
	wantRefusal(t, k.Key, again, other, fault.ErrMisconfigured)
}

func rewrapDamaged(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	wrapped[len(wrapped)/2] ^= 1
	if _, err := k.Key.Rewrap(t.Context(), wrapped, Alice, k.Self); !errors.Is(err, fault.ErrMisconfigured) {
		t.Errorf("Rewrap: %v, want %v", err, fault.ErrMisconfigured)
	}
}

func rewrapElsewhere(t *testing.T, k Keys) {
	_, wrapped := generate(t, k.Key)
	_, err := k.Key.Rewrap(t.Context(), wrapped, Alice, k.Elsewhere)
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next == "" {
		t.Errorf("Rewrap: %v, want %v that says what to do", err, fault.ErrMisconfigured)
	}
}

func check(t *testing.T, k Keys) {
	d, err := k.Key.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Detail == "" || d.URI.Scheme != k.Self.Scheme {
		t.Errorf("Check = %+v, want a detail and scheme %q", d, k.Self.Scheme)
	}
	if again, err := master.ParseURI(d.URI.String()); err != nil || again != d.URI {
		t.Errorf("the described URI reads back as %+v, %v; want %+v", again, err, d.URI)
	}
}

func atOnce(t *testing.T, k Keys) {
	share, wrapped := generate(t, k.Key)
	shares := make([][]byte, parallel)
	for i := range shares {
		shares[i] = Share(t)
	}
	errs := make([]error, parallel)
	var wg sync.WaitGroup
	for i := range parallel {
		wg.Go(func() { errs[i] = k.Key.Decrypt(t.Context(), shares[i], wrapped, Alice) })
	}
	wg.Wait()
	for i := range parallel {
		if errs[i] != nil || !bytes.Equal(shares[i], share) {
			t.Errorf("call %d: %v, share came back: %v", i, errs[i], bytes.Equal(shares[i], share))
		}
	}
}
