package sandbox

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/signer"
	"vigil/internal/wire"
)

// prepareWork returns what a keeper does all day; making keys, which a keeper
// doesn't, comes before the sandbox.
func prepareWork() func() error {
	encoded, err := makeKeys()
	slab, err2 := guard.NewSlab(64 << 10)
	if err := errors.Join(err, err2); err != nil {
		return func() error { return err }
	}
	return func() error {
		for _, step := range []struct {
			name string
			run  func() error
		}{
			{"sign", func() error { return signAll(slab, encoded) }},
			{"grow guarded memory", func() error { return growSlab(slab) }},
			{"grow the heap", growHeap},
			{"wait", waitOnTimers},
			{"receive a descriptor", receive},
		} {
			if err := step.run(); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		return nil
	}
}

// makeKeys returns a key of every type in ssh-add's encoding.
func makeKeys() ([][]byte, error) {
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	all := [][]byte{wire.AppendString(wire.AppendString(wire.AppendString(nil, "ssh-ed25519"), pub), priv)}
	for name, c := range map[string]elliptic.Curve{
		"nistp256": elliptic.P256(), "nistp384": elliptic.P384(), "nistp521": elliptic.P521(),
	} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			return nil, err
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		d, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		b := wire.AppendString(nil, "ecdsa-sha2-"+name)
		b = wire.AppendString(wire.AppendString(b, name), point)
		all = append(all, wire.AppendMpint(b, d))
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	b := wire.AppendString(nil, "ssh-rsa")
	for _, v := range [][]byte{
		k.N.Bytes(), {1, 0, 1}, k.D.Bytes(), k.Precomputed.Qinv.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes(),
	} {
		b = wire.AppendMpint(b, v)
	}
	pq, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return nil, err
	}
	m := wire.AppendString(nil, "ssh-mldsa44-ed25519@openssh.com")
	m = wire.AppendString(m, append(pq.PublicKey().Bytes(), pub...))
	return append(all, b, wire.AppendString(m, append(pq.Bytes(), priv.Seed()...))), nil
}

func signAll(slab *guard.Slab, encoded [][]byte) error {
	sweeper := guard.NewSweeper()
	defer sweeper.Close()
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { errs <- signEach(slab, sweeper, encoded) }()
	}
	var all error
	for range cap(errs) {
		all = errors.Join(all, <-errs)
	}
	return all
}

func signEach(slab *guard.Slab, sweeper *guard.Sweeper, encoded [][]byte) error {
	for _, e := range encoded {
		k, _, err := signer.Parse(slab, e)
		if err != nil {
			return err
		}
		for i := range 20 {
			if _, err := k.AppendSign(nil, make([]byte, 300), signer.FlagSHA512, i%2 == 0); err != nil {
				return err
			}
			sweeper.Touch()
		}
		k.Free()
	}
	return nil
}

func growSlab(slab *guard.Slab) error {
	before := slab.Usage()
	for range 100 {
		b, err := slab.Alloc(5000)
		if err != nil {
			return err
		}
		b.Bytes()[4999] = 1
	}
	if u := slab.Usage(); u.Mapped <= before.Mapped {
		return errors.New("it did not")
	}
	return slab.Close()
}

func growHeap() error {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var keep [][]byte
			for range 80 {
				keep = append(keep, bytes.Repeat([]byte{1}, 1<<20))
			}
			runtime.GC()
			runtime.KeepAlive(keep)
		})
	}
	wg.Wait()
	runtime.GC()
	return nil
}

func waitOnTimers() error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(50 * time.Millisecond)
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-deadline:
			if n == 0 {
				return errors.New("no tick")
			}
			return nil
		}
	}
}

// receive takes a descriptor from descriptor 3 and reads it to its end.
func receive() error {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fds[0]), "passed")
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if string(text) != "through a pipe" {
		return fmt.Errorf("read %q", text)
	}
	return f.Close()
}
