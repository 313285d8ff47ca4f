package skhelper

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"vigil/internal/ipc"
	"vigil/internal/wire"
)

func reply(version byte, kind uint32, rest ...byte) []byte {
	return append(wire.AppendUint32([]byte{version}, kind), rest...)
}

// conversation is a helper that has answered already.
type conversation struct {
	io.Reader
	io.Writer
}

func TestSign(t *testing.T) {
	code := func(n uint32) []byte { return reply(version, typeError, wire.AppendUint32(nil, n)...) }
	signature := wire.AppendString(nil, "signature")
	for _, tt := range []struct {
		name  string
		reply []byte
		want  error
	}{
		{"a signature", reply(version, typeSign, signature...), nil},
		{"no device", code(60), ErrNoToken},
		{"a PIN is asked for", code(43), ErrPIN},
		{"not supported", code(59), ErrProvider},
		{"another error", code(4), ErrProvider},
		{"an error of none", reply(version, typeError), ErrReply},
		{"another version", reply(version+1, typeSign, signature...), ErrVersion},
		{"another kind", reply(version, 2, signature...), ErrReply},
		{"nothing", nil, ErrReply},
		{"no signature", reply(version, typeSign), ErrReply},
		{"an empty signature", reply(version, typeSign, 0, 0, 0, 0), ErrReply},
		{"a signature cut short", reply(version, typeSign, signature[:7]...), ErrReply},
		{"more than a signature", reply(version, typeSign, append(signature, 0)...), ErrReply},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in, out bytes.Buffer
			if err := ipc.Write(&in, maxReply, tt.reply); err != nil {
				t.Fatal(err)
			}
			sig, err := Sign(conversation{&in, &out}, []byte("key"), Internal, []byte("data"), nil)
			if !errors.Is(err, tt.want) || err == nil && string(sig) != "signature" {
				t.Fatalf("got %q, %v; want %v", sig, err, tt.want)
			}
		})
	}
}

// TestAPIN goes to the device, and is told from a wrong one.
func TestAPIN(t *testing.T) {
	asks := reply(version, typeError, wire.AppendUint32(nil, 43)...)
	for pin, want := range map[string]error{"": ErrPIN, "1234": ErrWrongPIN} {
		var in, out bytes.Buffer
		if err := ipc.Write(&in, maxReply, asks); err != nil {
			t.Fatal(err)
		}
		_, err := Sign(conversation{&in, &out}, []byte("key"), Internal, []byte("data"), []byte(pin))
		if !errors.Is(err, want) {
			t.Errorf("PIN %q: %v, want %v", pin, err, want)
		}
		if sent := wire.AppendString(nil, pin); !bytes.HasSuffix(out.Bytes(), sent) {
			t.Errorf("PIN %q: sent %q", pin, out.Bytes())
		}
	}
}

func TestAHelperThatEndsOrFloods(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []byte
		want error
	}{
		"ends":              {nil, ErrEnded},
		"ends in its reply": {[]byte{0, 0, 0, 9, version}, ErrEnded},
		"floods":            {[]byte{0xff, 0xff, 0xff, 0xff, version}, ErrReply},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Sign(conversation{bytes.NewReader(tt.in), io.Discard}, nil, Internal, nil, nil); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	f.Add(reply(version, typeSign, wire.AppendString(nil, "signature")...))
	f.Add(reply(version, typeError, 0, 0, 0, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sig, err := readReply(b); err == nil && !bytes.Equal(b, reply(version, typeSign, wire.AppendString(nil, sig)...)) {
			t.Fatalf("accepted what isn't a reply: %x", b)
		}
	})
}
