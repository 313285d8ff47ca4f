// Package kmsfake emulates AWS Key Management Service for tests: its JSON protocol,
// symmetric keys with encryption contexts, aliases and key states, its typed errors,
// and requests signed by callers with policies. Keys are in memory.
//
// It is tested with independent clients (the AWS SDK, the AWS command line, sops) and
// with recorded traffic of the real service (testdata).
//
// It is for tests only: nothing is constant-time, throttled or audited.
package kmsfake

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"vigil/internal/testing/awsfake"
)

// Key states, as in DescribeKey.
const (
	Enabled         = "Enabled"
	Disabled        = "Disabled"
	PendingDeletion = "PendingDeletion"
	PendingImport   = "PendingImport"
	Unavailable     = "Unavailable"
)

// Server is one region of an emulated KMS.
type Server struct {
	service awsfake.Service

	mu      sync.Mutex
	keys    map[string]*key   // by key id
	aliases map[string]string // "alias/NAME" → key id
}

type key struct {
	id       string
	state    string
	spec     string
	usage    string
	created  time.Time
	deletion time.Time
	material [32]byte
}

func (k *key) arn() string { return arnPrefix + "key/" + k.id }

// materialID is AWS's opaque name of the key material.
func (k *key) materialID() string {
	sum := sha256.Sum256(append([]byte("material id"), k.material[:]...))
	return hex.EncodeToString(sum[:])
}

const arnPrefix = "arn:aws:kms:" + awsfake.Region + ":" + awsfake.Account + ":"

// New returns a KMS without keys.
func New(cloud *awsfake.Cloud) *Server {
	s := &Server{keys: map[string]*key{}, aliases: map[string]string{}}
	s.service = awsfake.Service{
		Cloud: cloud, Name: "kms", DeniedCode: "AccessDeniedException", IDHeader: "X-Amzn-Requestid",
		Classify: s.classify, Answer: s.answer, Refuse: refuse,
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.service.ServeHTTP(w, r) }

// CreateKey creates a symmetric key with aliases ("alias/vigil"), and returns its ARN.
func (s *Server) CreateKey(aliases ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.create()
	for _, alias := range aliases {
		s.aliases[alias] = k.id
	}
	return k.arn()
}

func (s *Server) create() *key {
	k := &key{
		id: awsfake.NewUUID(), state: Enabled, spec: "SYMMETRIC_DEFAULT", usage: "ENCRYPT_DECRYPT",
		created: s.service.Cloud.Now(),
	}
	_, _ = rand.Read(k.material[:])
	s.keys[k.id] = k
	return k
}

// CreateSigningKey creates a key that can't encrypt, and returns its ARN.
func (s *Server) CreateSigningKey() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.create()
	k.spec, k.usage = "ECC_NIST_P256", "SIGN_VERIFY"
	return k.arn()
}

// SetState sets the state of the key with this id, ARN or alias. It panics if there
// is none.
func (s *Server) SetState(id, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(id)
	if err != nil {
		panic(err)
	}
	k.state = state
}

// Delete deletes a key, as AWS does at the end of the waiting period.
func (s *Server) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, err := s.find(id); err == nil {
		delete(s.keys, k.id)
	}
}

// PointAlias makes an alias refer to another key.
func (s *Server) PointAlias(alias, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(id)
	if err != nil {
		panic(err)
	}
	s.aliases[alias] = k.id
}

// find returns the key with this id, ARN, alias or alias ARN.
func (s *Server) find(id string) (*key, error) {
	if id == "" {
		return nil, invalid("1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must not be null")
	}
	name := id
	if strings.HasPrefix(id, "arn:") {
		rest, ok := strings.CutPrefix(id, arnPrefix)
		if !ok {
			if strings.HasPrefix(id, "arn:aws:kms:") {
				return nil, notFound("Invalid arn " + strings.Split(id, ":")[3])
			}
			return nil, &awsfake.Refusal{Status: 400, Code: "InvalidArnException", Message: id + " is not a valid ARN"}
		}
		name = strings.TrimPrefix(rest, "key/")
	}
	if strings.HasPrefix(name, "alias/") {
		target, ok := s.aliases[name]
		if !ok || s.keys[target] == nil {
			return nil, notFound("Alias " + arnPrefix + name + " is not found.")
		}
		return s.keys[target], nil
	}
	k := s.keys[name]
	if k == nil {
		return nil, notFound("Key '" + arnPrefix + "key/" + name + "' does not exist")
	}
	return k, nil
}

// usable returns an error if the key can't encrypt and decrypt.
func (k *key) usable() error {
	switch {
	case k.usage != "ENCRYPT_DECRYPT":
		return &awsfake.Refusal{Status: 400, Code: "InvalidKeyUsageException", Message: k.arn() + " key usage is " + k.usage + " which is not valid for this operation."}
	case k.state == Enabled:
		return nil
	case k.state == Disabled:
		return &awsfake.Refusal{Status: 400, Code: "DisabledException", Message: k.arn() + " is disabled."}
	case k.state == PendingDeletion:
		return invalidState(k.arn() + " is pending deletion.")
	case k.state == PendingImport:
		return invalidState(k.arn() + " is pending import.")
	default:
		return invalidState(k.arn() + " is " + strings.ToLower(k.state) + ".")
	}
}

func notFound(message string) error {
	return &awsfake.Refusal{Status: 400, Code: "NotFoundException", Message: message}
}

func invalid(message string) error {
	return &awsfake.Refusal{Status: 400, Code: "ValidationException", Message: message}
}

func invalidState(message string) error {
	return &awsfake.Refusal{Status: 400, Code: "KMSInvalidStateException", Message: message}
}

// errCiphertext is AWS's answer to both damage and a wrong context, without a message.
var errCiphertext = &awsfake.Refusal{Status: 400, Code: "InvalidCiphertextException"}

// A ciphertext is blobMagic, the key's id, a nonce, and AES-256-GCM with the
// encryption context as additional data.
const (
	blobMagic = "\x01\x02\x02\x00"
	idSize    = 36
	nonceSize = 12
)

func (k *key) encrypt(plaintext []byte, context map[string]string) []byte {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce)
	blob := slices.Concat([]byte(blobMagic), []byte(k.id), nonce)
	return k.aead().Seal(blob, nonce, plaintext, contextAAD(context))
}

// keyOf returns the key of a ciphertext.
func (s *Server) keyOf(blob []byte) (*key, error) {
	if len(blob) < len(blobMagic)+idSize+nonceSize || string(blob[:len(blobMagic)]) != blobMagic {
		return nil, errCiphertext
	}
	k := s.keys[string(blob[len(blobMagic):][:idSize])]
	if k == nil {
		return nil, errCiphertext
	}
	return k, nil
}

func (k *key) decrypt(blob []byte, context map[string]string) ([]byte, error) {
	rest := blob[len(blobMagic)+idSize:]
	plaintext, err := k.aead().Open(nil, rest[:nonceSize], rest[nonceSize:], contextAAD(context))
	if err != nil {
		return nil, errCiphertext
	}
	return plaintext, nil
}

func (k *key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.material[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// contextAAD encodes an encryption context independently of its order.
func contextAAD(context map[string]string) []byte {
	var pairs []string
	for name, value := range context {
		pairs = append(pairs, fmt.Sprintf("%q=%q", name, value))
	}
	slices.Sort(pairs)
	return []byte(strings.Join(pairs, "\n"))
}
