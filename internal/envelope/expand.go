package envelope

import "crypto/sha256"

// expand is HKDF-SHA256 (RFC 5869) with 64 bytes of output for a seal, which the
// caller wipes. The standard library's version makes twenty allocations. Inside
// guard.Do, which tracks each allocation until it is erased, that took longer than
// the rest of a seal, and a vault of ten thousand keys opens twenty thousand seals.
// expand uses only the stack.
func expand(okm *[2 * sha256.Size]byte, key, salt []byte, info Context) {
	var prk [sha256.Size]byte
	mac(&prk, salt, key, nil, nil)
	first, second := (*[sha256.Size]byte)(okm[:sha256.Size]), (*[sha256.Size]byte)(okm[sha256.Size:])
	mac(first, prk[:], info, []byte{1}, nil)
	mac(second, prk[:], first[:], info, []byte{2})
	clear(prk[:])
}

// mac is HMAC-SHA256 (RFC 2104) of a ‖ b ‖ c under a key of at most one block.
func mac(out *[sha256.Size]byte, key, a, b, c []byte) {
	var pad [sha256.BlockSize]byte
	copy(pad[:], key)
	for i := range pad {
		pad[i] ^= 0x36
	}
	h := sha256.New()
	h.Write(pad[:])
	h.Write(a)
	h.Write(b)
	h.Write(c)
	var inner [sha256.Size]byte
	h.Sum(inner[:0])
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	h.Reset()
	h.Write(pad[:])
	h.Write(inner[:])
	h.Sum(out[:0])
	h.Reset()
	clear(pad[:])
	clear(inner[:])
}
