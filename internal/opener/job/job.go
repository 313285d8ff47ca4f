// Package job is the opener's own side: it does the jobs of package opener.
//
// A job runs in its own process. This package holds passphrases, shares, Argon2id's
// output and private keys in guarded memory. Copies made by the AWS SDK, Argon2id and
// the parsers of key files vanish with the process. Secrets leave it only to a keeper
// (package handover), and in an exported file.
package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/passphrase"
	"vigil/internal/turn"
)

// memory is the size of the opener's guarded memory, in bytes: a passphrase, a share,
// a few keys and one private key file.
const memory = 128 << 10

// job is one opener process.
type job struct {
	front   *os.File
	vault   id.Vault // from the hello
	slab    *guard.Slab
	deriver passphrase.Deriver
	start   error             // why it can't do any job
	made    *identity         // of the vault that this process made, until a keeper has it
	kept    *opener.KeptShare // of the identity that this process made
	seen    opener.Seen       // what the device has seen of the keyring

	given map[opener.File]*guard.Buffer // passphrases used more than once; nil: none is kept

	interactive bool      // a person waits for the running request
	asking      turn.Turn // one question at a time
}

// Run answers the front's requests until it closes the connection. It returns the
// exit status.
func Run(ctx context.Context) int {
	_, hardenErr := guard.Harden()
	unix.CloseOnExec(opener.FrontFD)
	j := &job{front: os.NewFile(opener.FrontFD, "front"), start: hardenErr}
	if j.start == nil {
		j.start = untraced()
	}
	if j.start == nil {
		j.slab, j.start = guard.NewSlab(memory)
	}
	if j.slab != nil {
		defer func() { _ = j.slab.Close() }() // wipes what is left
	}
	if err := j.serve(ctx); !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// untraced returns an error if this process or its front is traced.
func untraced() error {
	if err := guard.UntracedSelf(); err != nil {
		return err
	}
	return guard.Untraced(os.Getppid())
}

func (j *job) serve(ctx context.Context) error {
	var err error
	if j.vault, err = ipc.Answer(j.front, ipc.Opener, ipc.Front); err != nil {
		return err
	}
	handlers := map[string]opener.Handler{}
	for _, h := range j.handlers() {
		handlers[h.Name] = h
	}
	for {
		var req opener.Request
		if err := opener.ReadMessage(j.front, &req); err != nil {
			return err
		}
		h, ok := handlers[req.Job]
		if !ok {
			return fmt.Errorf("answer front: there is no job %.20q", req.Job)
		}
		do, err := h.Read(j.front)
		if err != nil {
			return err
		}
		j.interactive, j.seen = req.Interactive, req.Seen
		if err := j.answer(ctx, do); err != nil {
			return err
		}
	}
}

// handlers returns the jobs' handlers.
func (j *job) handlers() []opener.Handler {
	return []opener.Handler{
		opener.Handle(j.unlock),
		opener.Handle(j.fetch),
		opener.Handle(j.put),
		opener.Handle(j.check),
		opener.Handle(j.create),
		opener.Handle(j.storeNew),
		opener.Handle(j.handOver),
		opener.Handle(j.importKey),
		opener.Handle(j.generate),
		opener.Handle(j.export),
		opener.Handle(j.consent),
		opener.Handle(j.requestIdentity),
		opener.Handle(j.admit),
		opener.Handle(j.removeIdentities),
		opener.Handle(j.rekey),
		opener.Handle(j.moveMaster),
		opener.Handle(j.moveBackend),
		opener.Handle(j.diagnose),
	}
}

// answer runs one job and writes the reply.
func (j *job) answer(ctx context.Context, do func(context.Context) (any, error)) error {
	var result any
	err := j.start
	if err == nil {
		result, err = do(ctx)
	}
	if err != nil {
		return opener.WriteMessage(j.front, &opener.Reply{Error: sorted(err)})
	}
	return errors.Join(opener.WriteMessage(j.front, &opener.Reply{}), opener.WriteMessage(j.front, result))
}

// known returns what the device has seen, for a ring.
func (j *job) known() keyring.Known {
	return keyring.Known{Pins: j.seen.Pins, Last: j.seen.Kept.Deks}
}

// ask asks the person who waits for the job. Nothing else reads from the front
// meanwhile: the request is still being answered.
func (j *job) ask(ctx context.Context, message string) (string, error) {
	if err := j.asking.Take(ctx); err != nil {
		return "", err
	}
	defer j.asking.Give()
	if err := opener.WriteMessage(j.front, &opener.Reply{Ask: &opener.Ask{Message: message}}); err != nil {
		return "", err
	}
	var answer opener.Answer
	if err := opener.ReadMessage(j.front, &answer); err != nil {
		return "", err
	}
	if answer.Refused {
		return "", errors.New("nobody answered")
	}
	return answer.Text, nil
}

// handed returns a descriptor from the front.
func handed(f opener.File) (*os.File, error) {
	if f < 1 {
		return nil, errors.New("open handed-over file: none was")
	}
	fd := opener.FirstFile + int(f) - 1
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("open handed-over file %d: %w", f, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "the file handed over"), nil
}

// read reads a descriptor to its end into guarded memory. It returns the buffer,
// which the caller frees, and the number of bytes, at most limit.
func (j *job) read(f opener.File, limit int) (b *guard.Buffer, n int, err error) {
	if err := untraced(); err != nil {
		return nil, 0, err
	}
	in, err := handed(f)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if !errors.Is(err, errLate) {
			in.Close()
		}
	}()
	if b, err = j.slab.Alloc(limit + 1); err != nil {
		return nil, 0, err
	}
	n, err = inTime(func() (int, error) { return readTo(in, b.Bytes()) })
	if errors.Is(err, errLate) {
		return nil, 0, err // b is still being read into
	}
	if err != nil {
		b.Free()
		return nil, 0, err
	}
	return b, n, nil
}

// readTo reads in to its end, which must fit buf.
func readTo(in *os.File, buf []byte) (n int, err error) {
	for n < len(buf) {
		m, err := in.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err // it names the operation and the file
		}
	}
	return 0, &opener.Error{
		Kind: opener.BadInput, Message: fmt.Sprintf("the input has more than %d bytes", len(buf)-1),
		Next: "Check that it is the right file.",
	}
}

// handedTimeout is how long a handed-over file may take to be read or written. The
// vault waits meanwhile, and the process at the other end may hang.
const handedTimeout = 10 * time.Second

// errLate reports a handed-over file that takes longer.
var errLate = &opener.Error{
	Kind: opener.BadInput, Message: fmt.Sprintf("an input or output of the command took longer than %v", handedTimeout),
	Next: "Nothing was changed. Write it to a file first, or find out why the program at its other end waits.",
}

// inTime calls do, which reads or writes a handed-over file. After handedTimeout it
// returns errLate; do keeps running until the process ends, which is soon.
func inTime(do func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := do()
		done <- result{n, err}
	}()
	timer := time.NewTimer(handedTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-timer.C:
		return 0, errLate
	}
}

// passphrase reads a passphrase without its trailing line end. The caller frees the buffer.
func (j *job) passphrase(f opener.File) (*guard.Buffer, []byte, error) {
	b, n, err := j.readOnce(f, passphrase.MaxSize+len("\r\n"))
	if err != nil {
		return nil, nil, err
	}
	p := passphrase.TrimLineEnd(b.Bytes()[:n])
	if len(p) == 0 {
		b.Free()
		return nil, nil, passphrase.ErrEmpty
	}
	return b, p, nil
}

// keepPassphrases allows this process's one job to use a passphrase more than once,
// even from a pipe. The copies are wiped when the process ends.
func (j *job) keepPassphrases() { j.given = map[opener.File]*guard.Buffer{} }

// readOnce is read, or returns a copy of what was read before.
func (j *job) readOnce(f opener.File, limit int) (b *guard.Buffer, n int, err error) {
	kept := j.given[f]
	if kept == nil {
		if b, n, err = j.read(f, limit); err != nil || j.given == nil {
			return b, n, err
		}
		if kept, err = j.slab.Alloc(max(n, 1)); err != nil {
			b.Free()
			return nil, 0, err
		}
		guard.Copy(kept.Bytes(), b.Bytes()[:n])
		j.given[f] = kept
		return b, n, nil
	}
	if b, err = j.slab.Alloc(limit + 1); err != nil {
		return nil, 0, err
	}
	return b, guard.Copy(b.Bytes(), kept.Bytes()), nil
}
