package residue

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"filippo.io/mldsa"

	"vigil/internal/guard"
	"vigil/internal/keyfile"
	"vigil/internal/wire"
)

// naiveMode names, in a child's environment, what it does with its input:
// "hold" keeps it as it comes, "sign" signs with the keys in it as any program would.
const naiveMode = "VIGIL_RESIDUE_NAIVE"

// naive is the process that hides nothing. It reads records until an empty one,
// writes a byte and waits for the end of its input.
func naive(mode string) error {
	in := bufio.NewReader(os.Stdin)
	var held [][]byte
	for {
		b, err := readRecord(in)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break
		}
		held = append(held, b)
	}
	var keys []*secretKey
	if mode == "sign" {
		for _, b := range held {
			k, err := readKey("", b)
			if err != nil {
				return err
			}
			sig, err := signNaively(k)
			if err != nil {
				return err
			}
			if err := writeRecord(os.Stdout, sig); err != nil {
				return err
			}
			keys = append(keys, k)
			clear(b) // what is found then was left by the signer
		}
	}
	runtime.GC()
	runtime.GC()
	if err := writeRecord(os.Stdout, nil); err != nil {
		return err
	}
	_, err := in.ReadByte()
	runtime.KeepAlive(held)
	runtime.KeepAlive(keys)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func readRecord(in io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(in, b)
	return b, err
}

func writeRecord(out io.Writer, b []byte) error {
	_, err := out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// naiveData is what a naive signer signs.
var naiveData = []byte("data that a naive signer signs")

// signNaively signs a few times with the standard library and returns the last
// signature in SSH's form.
func signNaively(k *secretKey) (blob []byte, err error) {
	for range 20 {
		blob = wire.AppendString(nil, "naive")
		switch {
		case k.mldsa != nil:
			var key *mldsa.PrivateKey
			if key, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), k.mldsa); err == nil {
				_, err = key.Sign(nil, naiveData, &mldsa.Options{})
			}
			blob = wire.AppendString(blob, ed25519.Sign(k.ed25519, representative(naiveData)))
		case k.ed25519 != nil:
			blob = wire.AppendString(blob, ed25519.Sign(k.ed25519, naiveData))
		case k.ecdsa != nil:
			var r, s *big.Int
			if r, s, err = ecdsa.Sign(rand.Reader, k.ecdsa, k.hash(naiveData)); err == nil {
				blob = wire.AppendString(blob, wire.AppendMpint(wire.AppendMpint(nil, r.Bytes()), s.Bytes()))
			}
		case k.rsa != nil:
			h := sha256.Sum256(naiveData)
			var sig []byte
			sig, err = k.rsa.Sign(rand.Reader, h[:], crypto.SHA256)
			blob = wire.AppendString(blob, sig)
		}
		if err != nil {
			return nil, err
		}
	}
	return blob, nil
}

// child starts a naive process on records and returns an image of it, and what
// it wrote.
func child(t *testing.T, mode string, records [][]byte) (im *image, wrote [][]byte) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{naiveMode + "=" + mode}
	cmd.Stderr = os.Stderr
	var input []byte
	for _, b := range records {
		input = append(binary.BigEndian.AppendUint32(input, uint32(len(b))), b...)
	}
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	defer func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	_, err = in.Write(binary.BigEndian.AppendUint32(input, 0))
	check(t, err)
	for {
		b, err := readRecord(out)
		check(t, err)
		if len(b) == 0 {
			break
		}
		wrote = append(wrote, b)
	}
	im, err = capture(cmd.Process.Pid, guard.SecretMemory)
	check(t, err)
	return im, wrote
}

// somethingOfEverything makes keys of every kind and returns all their forms.
func somethingOfEverything(t *testing.T) (s *search, keys []*secretKey) {
	t.Helper()
	sc := &scene{world: &world{t: t}, search: newSearch()}
	for _, k := range kinds {
		keys = append(keys, sc.newKey("naive", k.kind, k.bits))
	}
	o := &opened{}
	seeds := make([]byte, 64)
	rand.Read(seeds)
	o.key("a symmetric key", seeds[:32])
	o.identity(seeds)
	check(t, sc.search.add(o.forms...))
	return sc.search, keys
}

// TestTheSearchFindsWhatIsThere holds that every form is found in a process
// that has it, and that half of it is enough.
func TestTheSearchFindsWhatIsThere(t *testing.T) {
	s, _ := somethingOfEverything(t)
	for _, part := range []string{"all", "half"} {
		var records [][]byte
		for _, f := range s.forms {
			b := f.bytes
			if part == "half" && len(b) >= 48 {
				b = b[len(b)/4+1 : len(b)*3/4]
			}
			records = append(records, b)
		}
		im, _ := child(t, "hold", records)
		found := im.find(s)
		if len(found) != len(s.forms) {
			t.Errorf("%s of each of %d forms was in memory, and %d were found", part, len(s.forms), len(found))
			for name := range s.forms {
				if _, ok := found[name]; !ok {
					t.Logf("not found: %s", name)
				}
			}
		}
	}
}

// TestANaiveSignerLeavesItsKeys holds that a signer which hides nothing is
// found out, with each kind of key.
func TestANaiveSignerLeavesItsKeys(t *testing.T) {
	s, keys := somethingOfEverything(t)
	for i, k := range keys {
		if kinds[i].kind == keyfile.KindRSA && kinds[i].bits > 2048 {
			continue // the same code as with 2048 bits
		}
		im, wrote := child(t, "sign", [][]byte{bytes.Clone(k.encoding)})
		forms, err := (&signature{key: k, data: naiveData, blob: wrote[0]}).forms(0)
		check(t, err)
		check(t, s.add(forms...))
		var key, nonce []string
		for name := range im.find(s) {
			if strings.Contains(name, "signature") {
				nonce = append(nonce, name)
			} else {
				key = append(key, name)
			}
		}
		if len(key) == 0 {
			t.Errorf("nothing of %s itself is found", k.name)
		}
		t.Logf("%d forms of %s are found, and %d of what it signed with", len(key), k.name, len(nonce))
	}
}
