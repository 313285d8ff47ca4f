package opener

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"vigil/internal/backend"
)

// maxMessage bounds a message's JSON: a share, a certificate, a private key in a
// line of the vault file, and much room.
const maxMessage = 4 << 20

// carrier is a message with objects of a keyring. They follow its JSON.
type carrier interface {
	// objects are where they are, of the members that are set. What is nil stays so.
	objects() []*[]byte
}

func (f *Fetched) objects() []*[]byte { return []*[]byte{&f.Members, &f.Deks} }

func (r *Request) objects() (list []*[]byte) {
	if r.Seen != nil {
		list = append(list, r.Seen.Kept.objects()...)
	}
	if r.Found != nil {
		list = append(list, r.Found.Keyring.objects()...)
	}
	if r.Put != nil {
		list = append(list, &r.Put.Data)
	}
	return list
}

func (r *Reply) objects() (list []*[]byte) {
	if r.Create != nil {
		list = append(list, r.Create.Keyring.objects()...)
	}
	for _, f := range []*Fetched{r.Found, r.Fetch} {
		if f != nil {
			list = append(list, f.objects()...)
		}
	}
	if r.Unlock != nil {
		list = append(list, r.Unlock.Keyring.objects()...)
	}
	if r.Changed != nil {
		list = append(list, r.Changed.Keyring.objects()...)
	}
	return list
}

// WriteMessage writes one message, of which v is the address.
func WriteMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message has %d bytes and may have %d", len(body), maxMessage)
	}
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if _, err := w.Write(append(head, body...)); err != nil {
		return err
	}
	c, ok := v.(carrier)
	if !ok {
		return nil
	}
	for _, object := range c.objects() {
		if err := writeObject(w, *object); err != nil {
			return err
		}
	}
	return nil
}

// writeObject writes an object: its length and 1, or 0 for nil, and its bytes.
func writeObject(w io.Writer, b []byte) error {
	if len(b) > backend.MaxObject {
		return fmt.Errorf("object has %d bytes and may have %d", len(b), backend.MaxObject)
	}
	var length uint32
	if b != nil {
		length = uint32(len(b)) + 1
	}
	if _, err := w.Write(binary.BigEndian.AppendUint32(nil, length)); err != nil {
		return err
	}
	if len(b) == 0 {
		return nil // who has the length has all of it, and may be gone
	}
	_, err := w.Write(b)
	return err
}

// ReadMessage reads one message into v. It allocates as bytes arrive, not by
// the length that was announced.
func ReadMessage(r io.Reader, v any) error {
	n, err := readLength(r)
	if err != nil {
		return err
	}
	if n > maxMessage {
		return fmt.Errorf("message has %d bytes and may have %d", n, maxMessage)
	}
	body, err := readBytes(r, n)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("decode message: not the JSON that was expected")
	}
	c, ok := v.(carrier)
	if !ok {
		return nil
	}
	for _, object := range c.objects() {
		if *object, err = readObject(r); err != nil {
			return fmt.Errorf("read message's object: %w", err)
		}
	}
	return nil
}

func readObject(r io.Reader) ([]byte, error) {
	n, err := readLength(r)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, nil
	case n-1 > backend.MaxObject:
		return nil, fmt.Errorf("it has %d bytes and may have %d", n-1, backend.MaxObject)
	}
	return readBytes(r, n-1)
}

func readLength(r io.Reader) (int64, error) {
	var head [4]byte
	_, err := io.ReadFull(r, head[:])
	return int64(binary.BigEndian.Uint32(head[:])), err
}

// readBytes reads n bytes. It never has more memory than twice what came.
func readBytes(r io.Reader, n int64) ([]byte, error) {
	const first = 64 << 10
	b := []byte{}
	for int64(len(b)) < n {
		part := min(n-int64(len(b)), int64(max(first, len(b))))
		b = slices.Grow(b, int(part))
		from := len(b)
		b = b[:from+int(part)]
		if _, err := io.ReadFull(r, b[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}
