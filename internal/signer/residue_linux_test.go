package signer

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
)

// residueMode names, in a child's environment, which signer it is.
const residueMode = "VIGIL_RESIDUE_CHILD"

// residueSignatures is how many signatures a child makes with a key.
const residueSignatures = 160

// residueWorkers is how many goroutines of a child make them: more than there
// are cores here, so that they are preempted in the middle of a signature.
const residueWorkers = 8

func TestMain(m *testing.M) {
	if mode := os.Getenv(residueMode); mode != "" {
		if err := residueChild(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// residueData is what signature number i is over: short ones too, as with those
// hashes keep their input longest.
func residueData(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i%40*11) }

// residueChild reads one key from standard input into guarded memory, signs, and
// writes the signatures and an empty one; then it waits for the end of its input.
func residueChild(mode string) error {
	slab, err := guard.NewSlab(256 << 10)
	if err != nil {
		return err
	}
	if slab.Usage().Kind != guard.SecretMemory {
		return errors.New("no secret memory")
	}
	var size [4]byte
	if err := readInto(size[:]); err != nil {
		return err
	}
	in, err := slab.Alloc(int(binary.BigEndian.Uint32(size[:])))
	if err != nil {
		return err
	}
	if err := readInto(in.Bytes()); err != nil {
		return err
	}
	sign := signGuarded
	if mode == "naive" {
		sign = signNaively
	}
	if err := sign(slab, in); err != nil {
		return err
	}
	if err := reply(nil); err != nil {
		return err
	}
	return readInto(make([]byte, 1))
}

// readInto fills b from standard input by read(2) alone.
func readInto(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(0, b)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		b = b[n:]
	}
	return nil
}

func reply(b []byte) error {
	_, err := os.Stdout.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func signGuarded(slab *guard.Slab, in *guard.Buffer) error {
	sweeper := guard.NewSweeper()
	k, _, err := Parse(slab, in.Bytes())
	in.Free()
	if err != nil {
		return err
	}
	sigs, errs := make([][]byte, residueSignatures), make([]error, residueWorkers)
	var wg sync.WaitGroup
	for w := range residueWorkers {
		wg.Go(func() {
			for i := w; i < residueSignatures && errs[w] == nil; i += residueWorkers {
				sigs[i], errs[w] = k.AppendSign(nil, residueData(i), FlagSHA512, i%16 < residueWorkers)
				sweeper.Touch()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, sig := range sigs {
		if err := reply(sig); err != nil {
			return err
		}
	}
	sweeper.Close()
	sweeper.Sweep() // at once what it does by itself after a moment
	return nil
}

// signNaively is the control: a signer that parses the key into the library's
// types. The scan must find what it leaves.
func signNaively(_ *guard.Slab, in *guard.Buffer) error {
	key, err := libraryKey(bytes.Clone(in.Bytes()))
	if err != nil {
		return err
	}
	for i := range residueSignatures {
		var sig []byte
		switch k := key.(type) {
		case ed25519.PrivateKey:
			sig = ed25519.Sign(k, residueData(i))
		case crypto.Signer:
			h := sha512.Sum512(residueData(i))
			if sig, err = k.Sign(rand.Reader, h[:], crypto.SHA512); err != nil {
				return err
			}
		}
		if err := reply(sig); err != nil {
			return err
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.KeepAlive(key)
	return nil
}

func TestNothingIsLeftInReadableMemory(t *testing.T) {
	if !guard.DoErases {
		t.Skip("this build erases nothing")
	}
	if raceBuild {
		t.Skip("the race detector's memory takes minutes to read")
	}
	for _, s := range samples(t) {
		if !bytes.Equal(s.public, s.plain) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			found, scanned := residue(t, "guarded", s)
			if len(found) > 0 {
				t.Errorf("left in %d KiB of readable memory: %v", scanned>>10, found)
			}
			if s.plain[3] == byte(len(typeMLDSA)) {
				return // the naive signer doesn't know it; the scan is the same
			}
			if found, _ := residue(t, "naive", s); len(found) == 0 {
				t.Error("the scan finds nothing in a signer that hides nothing")
			}
		})
	}
}

// residue has a child sign with a key and returns which secret forms of it are
// in the child's readable memory afterwards.
func residue(t *testing.T, mode string, s sample) (found map[string]int, scanned int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{residueMode + "=" + mode}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, errs.Bytes())
		}
	}()
	if _, err := in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(s.encoded))), s.encoded...)); err != nil {
		t.Fatal(err)
	}
	var sigs [][]byte
	for out := bufio.NewReader(pipe); ; {
		var size [4]byte
		if _, err := io.ReadFull(out, size[:]); err != nil {
			t.Fatalf("%v: %s", err, errs.Bytes())
		}
		sig := make([]byte, binary.BigEndian.Uint32(size[:]))
		if len(sig) == 0 {
			break
		}
		if _, err := io.ReadFull(out, sig); err != nil {
			t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	if mode == "naive" {
		sigs = nil // not in SSH's form; the key itself is there to be found
	}
	return scan(t, cmd.Process.Pid, secretForms(t, s.encoded, sigs))
}

// scan looks for forms in all writable memory of a process.
func scan(t *testing.T, pid int, forms map[string][]byte) (found map[string]int, scanned int) {
	t.Helper()
	byPrefix := map[uint64][]string{}
	var begins [1 << 16]bool // what the first two bytes may be: most places stop here
	for name, b := range forms {
		p := binary.LittleEndian.Uint64(b)
		byPrefix[p] = append(byPrefix[p], name)
		begins[uint16(p)] = true
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mem.Close() }()
	found = map[string]int{}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(perms, "rw") {
			continue
		}
		b := make([]byte, to-from)
		n, err := mem.ReadAt(b, int64(from))
		if strings.Contains(line, "secretmem") {
			if err == nil {
				t.Error("secret memory can be read")
			}
			continue
		}
		b = b[:n]
		scanned += n
		for i := 0; i+8 <= len(b); i++ {
			if !begins[binary.LittleEndian.Uint16(b[i:])] {
				continue
			}
			for _, name := range byPrefix[binary.LittleEndian.Uint64(b[i:])] {
				if bytes.HasPrefix(b[i:], forms[name]) {
					found[name]++
				}
			}
		}
	}
	if scanned < 1<<20 {
		t.Fatalf("only %d bytes could be read", scanned)
	}
	return found, scanned
}

// secretForms returns everything that gives a key away, in the byte orders it
// may be found in.
func secretForms(t *testing.T, encoded []byte, sigs [][]byte) map[string][]byte {
	t.Helper()
	forms := map[string][]byte{}
	number := func(name string, v *big.Int, size int) {
		b := v.FillBytes(make([]byte, size))
		forms[name] = b[:min(size, 32)] // the leading 32 bytes are enough to know it by
		le := bytes.Clone(b)
		for i, j := 0, len(le)-1; i < j; i, j = i+1, j-1 {
			le[i], le[j] = le[j], le[i]
		}
		forms[name+", little-endian"] = le[:min(size, 32)]
	}
	// modular adds a number mod n, also as Montgomery arithmetic has it.
	modular := func(name string, v, n *big.Int, size int) {
		number(name, v, size)
		words := (size + 7) / 8 * 64
		number(name+" in Montgomery form", new(big.Int).Mod(new(big.Int).Lsh(v, uint(words)), n), size)
	}
	key, err := libraryKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		formsEd25519(forms, modular, k.Seed(), sigs, residueData)
	case compositeSeeds:
		formsMLDSA(forms, k)
		formsEd25519(forms, modular, k[32:], sigs, func(i int) []byte { return representative(residueData(i)) })
	case *ecdsa.PrivateKey:
		formsECDSA(t, modular, k, sigs)
	case *rsa.PrivateKey:
		p, q := k.Primes[0], k.Primes[1]
		size := len(p.Bytes())
		for name, v := range map[string]*big.Int{
			"d": k.D, "p": p, "q": q, "dP": k.Precomputed.Dp, "dQ": k.Precomputed.Dq, "qInv": k.Precomputed.Qinv,
		} {
			number(name, v, len(v.Bytes()))
		}
		for i, sig := range sigs {
			// Half a signature minus the signature is a multiple of a prime.
			s := new(big.Int).SetBytes(sig[len(sig)-(k.N.BitLen()+7)/8:])
			number(fmt.Sprintf("signature %d mod p", i), new(big.Int).Mod(s, p), size)
			number(fmt.Sprintf("signature %d mod q", i), new(big.Int).Mod(s, q), size)
		}
	}
	for name, b := range forms {
		if len(b) < 16 {
			t.Fatalf("%s is too short to look for", name)
		}
	}
	return forms
}

// formsECDSA adds the scalar and the nonces: k = (hash + r·d) / s.
func formsECDSA(t *testing.T, modular func(string, *big.Int, *big.Int, int), k *ecdsa.PrivateKey, sigs [][]byte) {
	t.Helper()
	n := k.Curve.Params().N
	size := (n.BitLen() + 7) / 8
	d, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	scalar := new(big.Int).SetBytes(d)
	modular("d", scalar, n, size)
	var c *curve
	for i := range curves {
		if ellipticCurve(&curves[i]) == k.Curve {
			c = &curves[i]
		}
	}
	for i, sig := range sigs {
		r, s := splitECDSA(sig)
		e := new(big.Int).SetBytes(c.digest(nil, residueData(i)))
		nonce := new(big.Int).Mul(r, scalar)
		nonce.Add(nonce, e).Mul(nonce, new(big.Int).ModInverse(s, n)).Mod(nonce, n)
		if i == 0 {
			if x, _ := k.ScalarBaseMult(nonce.Bytes()); new(big.Int).Mod(x, n).Cmp(r) != 0 {
				t.Fatal("the nonce was computed wrong")
			}
		}
		modular(fmt.Sprintf("nonce %d", i), nonce, n, size)
		modular(fmt.Sprintf("nonce %d inverse", i), new(big.Int).ModInverse(nonce, n), n, size)
	}
}
