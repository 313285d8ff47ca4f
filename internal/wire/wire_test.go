package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestReaderReadsWhatAppendWrites(t *testing.T) {
	var b []byte
	b = AppendBool(b, true)
	b = AppendUint32(b, 7)
	b = AppendUint64(b, 1<<40)
	b = AppendString(b, "key")
	b = AppendMpint(b, []byte{0, 0, 0x80, 1})
	b = AppendMpint(b, nil)
	r := NewReader(b)
	if !r.Bool() || r.Uint32() != 7 || r.Uint64() != 1<<40 || string(r.String()) != "key" {
		t.Fatal("values differ")
	}
	if m := r.Mpint(); !bytes.Equal(m, []byte{0x80, 1}) {
		t.Fatalf("mpint %x", m)
	}
	if m := r.Mpint(); len(m) != 0 {
		t.Fatalf("zero mpint %x", m)
	}
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		read func(*Reader)
		want error
	}{
		{"a string longer than the rest", []byte{0, 0, 0, 9, 'a'}, func(r *Reader) { r.String() }, ErrShort},
		{"a string of 4 GiB", []byte{255, 255, 255, 255, 'a'}, func(r *Reader) { r.String() }, ErrShort},
		{"half a uint32", []byte{0, 0}, func(r *Reader) { r.Uint32() }, ErrShort},
		{"a boolean of 2", []byte{2}, func(r *Reader) { r.Bool() }, ErrBool},
		{"a negative mpint", []byte{0, 0, 0, 1, 0x80}, func(r *Reader) { r.Mpint() }, ErrMpint},
		{"a padded mpint", []byte{0, 0, 0, 2, 0, 1}, func(r *Reader) { r.Mpint() }, ErrMpint},
		{"a zero written as a byte", []byte{0, 0, 0, 1, 0}, func(r *Reader) { r.Mpint() }, ErrMpint},
		{"bytes left over", []byte{1, 1}, func(r *Reader) { r.Byte() }, ErrTrailing},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(c.in)
			c.read(&r)
			if err := r.End(); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if r.Uint32() != 0 || r.String() != nil {
				t.Fatal("values after an error")
			}
		})
	}
}
