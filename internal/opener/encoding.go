package opener

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"vigil/internal/backend"
	"vigil/internal/ipc"
)

// maxMessage bounds a message's JSON, in bytes. It has ample room for a share, a
// certificate and a private key in a line of the vault file.
const maxMessage = 4 << 20

// objectsIn returns the addresses of the keyring objects in v. They follow the JSON;
// a nil object stays nil.
func objectsIn(v any) []*[]byte {
	switch v := v.(type) {
	case *Put:
		return []*[]byte{&v.Data}
	case *Request:
		return objectsOf(&v.Seen.Kept)
	case *StoreNew:
		return objectsOf(&v.Keyring)
	case *backend.Keyring:
		return objectsOf(v)
	case *Created:
		return objectsOf(&v.Keyring)
	case *Unlocked:
		return objectsOf(&v.Keyring)
	case *Changed:
		return objectsOf(&v.Keyring)
	}
	return nil
}

func objectsOf(k *backend.Keyring) []*[]byte { return []*[]byte{&k.Members, &k.Deks} }

// WriteMessage writes one message. v is a pointer to it.
func WriteMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if err := ipc.Write(w, maxMessage, body); err != nil {
		return err
	}
	for _, object := range objectsIn(v) {
		if err := writeObject(w, *object); err != nil {
			return err
		}
	}
	return nil
}

// there is the first byte of an object's message. A nil object's message is empty.
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
	for _, object := range objectsIn(v) {
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
