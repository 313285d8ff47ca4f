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
		{"a negative mpint", []byte{0, 0, 0, 1, 0x80}, func(r *Reader) { r.Mpint() }, ErrNegative},
		{"a negative mpint where the shortest form is asked for", []byte{0, 0, 0, 1, 0x80}, func(r *Reader) { r.ShortestMpint() }, ErrNegative},
		{"a padded mpint where the shortest form is asked for", []byte{0, 0, 0, 2, 0, 1}, func(r *Reader) { r.ShortestMpint() }, ErrPadded},
		{"two zeros before a high bit where the shortest form is asked for", []byte{0, 0, 0, 3, 0, 0, 0x80}, func(r *Reader) { r.ShortestMpint() }, ErrPadded},
		{"a zero written as a byte where the shortest form is asked for", []byte{0, 0, 0, 1, 0}, func(r *Reader) { r.ShortestMpint() }, ErrPadded},
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

func TestMpintWithNeedlessZeros(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		want string
	}{
		{"none", "\x01", "\x01"},
		{"the one before a high bit", "\x00\x80", "\x80"},
		{"one", "\x00\x01", "\x01"},
		{"several", "\x00\x00\x00\x80", "\x80"},
		{"a zero of one byte", "\x00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(AppendString(nil, c.in))
			if got := r.Mpint(); string(got) != c.want || r.End() != nil {
				t.Errorf("got %x, %v; want %x", got, r.Err(), c.want)
			}
		})
	}
	r := NewReader(AppendMpint(AppendMpint(nil, []byte{0x80}), nil))
	if a, b := r.ShortestMpint(), r.ShortestMpint(); string(a) != "\x80" || len(b) != 0 || r.End() != nil {
		t.Errorf("the shortest form is refused: %v", r.Err())
	}
}
