// Package job is the opener's own side: it does the jobs of package opener.
//
// A job runs in a process of its own that ends with it. Passphrases, shares,
// Argon2id's output and private keys are held in guarded memory as far as this
// code goes; what the AWS SDK, Argon2id and the parsers of key files copy
// elsewhere dies with the process. Secrets leave it in two ways only: to a
// keeper (package handover), and as the file of an export.
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

// memory is the size in bytes of the opener's guarded memory: a passphrase, a
// share, a few keys and one private key file.
const memory = 128 << 10

// job is one opener process.
type job struct {
	front   *os.File
	vault   id.Vault // from the hello
	slab    *guard.Slab
	deriver passphrase.Deriver
	start   error             // why it can do nothing
	made    *identity         // of the vault that this process made, until it was handed over
	kept    *opener.KeptShare // of the identity that this process made
	seen    opener.Seen       // what the device has seen of the keyring

	// given are passphrases that a job uses more than once; nil: none is kept.
	given map[opener.File]*guard.Buffer

	interactive bool      // a person waits for the request under way
	asking      turn.Turn // one question at a time
}

// Run answers the front's requests until it closes the connection, and returns
// the exit status.
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
		defer func() { _ = j.slab.Close() }() // wipes what is left, whatever happened
	}
	if err := j.serve(ctx); !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// untraced looks for a tracer of this process and of its front.
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

// handlers are the jobs.
func (j *job) handlers() []opener.Handler {
	return []opener.Handler{
		opener.Handle(j.unlock),
		opener.Handle(j.fetch),
		opener.Handle(j.put),
		opener.Handle(j.check),
		opener.Handle(j.create),
		opener.Handle(j.found),
		opener.Handle(j.enter),
		opener.Handle(j.importKey),
		opener.Handle(j.generate),
		opener.Handle(j.export),
		opener.Handle(j.requestIdentity),
		opener.Handle(j.admit),
		opener.Handle(j.removeIdentities),
		opener.Handle(j.rekey),
		opener.Handle(j.moveMaster),
		opener.Handle(j.moveBackend),
		opener.Handle(j.diagnose),
	}
}

// answer does one job and writes the reply.
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

// known is what the device has seen, as a ring takes it.
func (j *job) known() keyring.Known {
	return keyring.Known{Pins: j.seen.Pins, Last: j.seen.Kept.Deks}
}

// ask asks the person who waits for the job. While it waits for the answer
// nothing else reads from the front: the request is still being answered.
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

// handed returns a descriptor that the front handed over at the start.
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
	return os.NewFile(uintptr(fd), "handed-over file"), nil
}

// read reads a descriptor to its end into guarded memory, at most limit bytes,
// and returns how many there are. The caller frees the buffer.
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
		return nil, 0, err // b is being read into
	}
	if err != nil {
		b.Free()
		return nil, 0, err
	}
	return b, n, nil
}

// readTo reads in to its end, which must come before that of buf.
func readTo(in *os.File, buf []byte) (n int, err error) {
	for n < len(buf) {
		m, err := in.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read handed-over file: %w", err)
		}
	}
	return 0, &opener.Error{
		Kind: opener.BadInput, Message: fmt.Sprintf("the input has more than %d bytes", len(buf)-1),
		Next: "Check that it is the right file.",
	}
}

// handedTimeout is how long what was handed over may take to be read or written:
// the vault waits meanwhile, and whoever made it may never write, or never read.
const handedTimeout = 10 * time.Second

// errLate reports a handed-over file that took longer.
var errLate = &opener.Error{
	Kind: opener.BadInput, Message: fmt.Sprintf("an input or output of the command was not done with within %v", handedTimeout),
	Next: "Nothing was changed. Have it written to a file first, or see why the program at its other end waits.",
}

// inTime does what depends on a handed-over file. When it is late it goes on, in a
// process that is about to end, and the error is errLate.
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

// passphrase reads a passphrase and removes one trailing line end. The caller
// frees the buffer.
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

// keepPassphrases lets this process's one job use a passphrase more than once:
// what it came from may be a pipe. The copies are wiped when the process ends.
func (j *job) keepPassphrases() { j.given = map[opener.File]*guard.Buffer{} }

// readOnce is read, or a copy of what it read before.
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
