package keyring

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"unicode/utf8"

	"vigil/internal/canon"
	"vigil/internal/id"
)

const (
	// MaxRequest is the most bytes the text of a request may have: public keys
	// and an unlock block with the largest share, in base64 twice.
	MaxRequest = 32 << 10
	// MaxRequestName is the most bytes the name in a request may have.
	MaxRequestName = 64

	requestLabel  = "vigil v1 request"
	requestHeader = `{"vigil":"request","version":`
	requestPEM    = "VIGIL IDENTITY REQUEST"
)

// ErrRequest reports a text that isn't an admission request, or one that was
// altered in transit.
var ErrRequest = errors.New("not an admission request, or an incomplete one")

// Request asks the owners of a vault to admit an identity. It holds what
// AddIdentity and SetUnlock need, and no plaintext secret: the private halves are
// in the unlock block, sealed by the candidate's two factors.
//
// Its signature proves that the candidate has the private key and that the
// request is unaltered. It doesn't prove who the candidate is: for that, compare
// Words over another channel.
type Request struct {
	Vault id.Vault
	// Name is what the candidate calls itself: UTF-8, untrusted.
	Name   string
	Public Public
	// Block is the unlock block; its Identity is the candidate's.
	Block UnlockBlock
}

// Identity returns the candidate's id.
func (r *Request) Identity() id.Identity { return r.Block.Identity }

// line returns the canonical line that is signed, without line feed.
func (r *Request) line() []byte {
	b := append(make([]byte, 0, 4<<10), requestHeader...)
	b = canon.AppendUint(b, Version)
	b = append(b, `,"vault":`...)
	b = canon.AppendBytes(b, r.Vault[:])
	b = append(b, `,"name":`...)
	b = canon.AppendText(b, r.Name)
	b = append(b, `,"hpke":`...)
	b = canon.AppendBytes(b, r.Public.HPKE[:])
	b = append(b, `,"ed25519":`...)
	b = canon.AppendBytes(b, r.Public.Ed25519[:])
	b = append(b, `,"block":`...)
	b = append(b, r.Block.line()...)
	return append(b, '}')
}

// Words returns the request's fingerprint, for people to compare.
func (r *Request) Words() string { return inWords(id.HashOf(r.line())) }

// Sign returns the request as the text that the candidate sends. by must be the
// candidate's Signer.
func (r *Request) Sign(by Signer) (string, error) {
	if by.Identity() != r.Block.Identity {
		return "", fmt.Errorf("sign request: %w: of another identity", ErrChange)
	}
	if len(r.Name) > MaxRequestName || !utf8.ValidString(r.Name) {
		return "", fmt.Errorf("sign request: %w: a name has at most %d bytes of UTF-8", ErrChange, MaxRequestName)
	}
	if err := r.Block.check(); err != nil {
		return "", fmt.Errorf("sign request: %w", err)
	}
	line := r.line()
	sig, err := by.Sign(requestMessage(line))
	if err != nil {
		return "", fmt.Errorf("sign request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: requestPEM, Bytes: append(line, sig...)})), nil
}

// requestMessage returns what the signature covers, like RecordMessage.
func requestMessage(line []byte) []byte {
	m := make([]byte, 0, 4+len(requestLabel)+len(line))
	m = binary.BigEndian.AppendUint32(m, uint32(len(requestLabel)))
	m = append(m, requestLabel...)
	return append(m, line...)
}

// ParseRequest reads the text of a request and ignores what surrounds it. Its
// error wraps ErrRequest, or is an *Error of StageVault if the request is for
// another vault.
func ParseRequest(text string, vault id.Vault) (*Request, error) {
	if len(text) > MaxRequest {
		return nil, fmt.Errorf("read request: %w: longer than %d bytes", ErrRequest, MaxRequest)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != requestPEM || len(block.Headers) > 0 || len(block.Bytes) < SignatureSize {
		return nil, fmt.Errorf("read request: %w", ErrRequest)
	}
	at := len(block.Bytes) - SignatureSize
	line, sig := block.Bytes[:at:at], block.Bytes[at:]
	r, err := parseRequestLine(line)
	if err != nil {
		return nil, fmt.Errorf("read request: %w: %w", ErrRequest, err)
	}
	if !ed25519.Verify(r.Public.Ed25519[:], requestMessage(line), sig) {
		return nil, fmt.Errorf("read request: %w: its signature is wrong", ErrRequest)
	}
	if r.Vault != vault {
		return nil, &Error{Object: "request", Stage: StageVault, What: fmt.Sprintf("is for vault %v, want %v", r.Vault, vault)}
	}
	return r, nil
}

func parseRequestLine(line []byte) (*Request, error) {
	var req Request
	r := canon.NewReader(line)
	r.Literal(requestHeader)
	if v := r.Uint(); r.Err() == nil && v != Version {
		return nil, fmt.Errorf("version %d, this is version %d", v, Version)
	}
	r.Literal(`,"vault":`)
	r.Fixed(req.Vault[:])
	r.Literal(`,"name":`)
	req.Name = r.Text(MaxRequestName)
	r.Literal(`,"hpke":`)
	r.Fixed(req.Public.HPKE[:])
	r.Literal(`,"ed25519":`)
	r.Fixed(req.Public.Ed25519[:])
	r.Literal(`,"block":`)
	readUnlock(&r, &req.Block)
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return nil, err
	}
	return &req, req.Block.check()
}
