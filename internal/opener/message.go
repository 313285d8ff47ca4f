package opener

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"vigil/internal/backend"
	"vigil/internal/ipc"
)

// maxMessage bounds a message's JSON: a share, a certificate, a private key in a
// line of the vault file, and much room.
const maxMessage = 4 << 20

// carrier is a message with objects of a keyring. They follow its JSON.
type carrier interface {
	// objects are where they are, of the members that are set. What is nil stays so.
	objects() []*[]byte
}

func objectsOf(k *backend.Keyring) []*[]byte { return []*[]byte{&k.Members, &k.Deks} }

func (r *Request) objects() (list []*[]byte) {
	if r.Seen != nil {
		list = append(list, objectsOf(&r.Seen.Kept)...)
	}
	if r.Found != nil {
		list = append(list, objectsOf(&r.Found.Keyring)...)
	}
	if r.Put != nil {
		list = append(list, &r.Put.Data)
	}
	return list
}

func (r *Reply) objects() (list []*[]byte) {
	if r.Create != nil {
		list = append(list, objectsOf(&r.Create.Keyring)...)
	}
	for _, f := range []*backend.Keyring{r.Found, r.Fetch} {
		if f != nil {
			list = append(list, objectsOf(f)...)
		}
	}
	if r.Unlock != nil {
		list = append(list, objectsOf(&r.Unlock.Keyring)...)
	}
	if r.Changed != nil {
		list = append(list, objectsOf(&r.Changed.Keyring)...)
	}
	return list
}

// WriteMessage writes one message, of which v is the address.
func WriteMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if err := ipc.Write(w, maxMessage, body); err != nil {
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

// there is what the message of an object begins with. That of nil is empty.
const there = 1

func writeObject(w io.Writer, b []byte) error {
	if b == nil {
		return ipc.Write(w, 0)
	}
	return ipc.Write(w, 1+backend.MaxObject, []byte{there}, b)
}

// ReadMessage reads one message into v.
func ReadMessage(r io.Reader, v any) error {
	body, err := ipc.Read(r, maxMessage)
	if err != nil {
		return err
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
	b, err := ipc.Read(r, 1+backend.MaxObject)
	switch {
	case err != nil || len(b) == 0:
		return nil, err
	case b[0] != there:
		return nil, errors.New("it doesn't begin as one does")
	}
	return b[1:], nil
}
