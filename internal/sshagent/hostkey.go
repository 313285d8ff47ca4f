package sshagent

import (
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"filippo.io/mldsa"
	"golang.org/x/crypto/ssh"

	"vigil/internal/policy"
	"vigil/internal/wire"
)

// Smallest and largest RSA host keys that are verified, in bits (OpenSSH:
// SSH_RSA_MINIMUM_MODULUS_SIZE, OPENSSL_RSA_MAX_MODULUS_BITS). With larger keys,
// one verification could take seconds.
const (
	minRSABits = 1024
	maxRSABits = 16384
)

var (
	errSignature = errors.New("the host key's signature over the session is wrong")
	errAuthority = errors.New("the host certificate's signature is wrong")
	errAlgorithm = errors.New("signed with an algorithm that is not accepted")
)

// verifyHost verifies a host key's signature over a session identifier and, if
// the key is a certificate, the authority's signature on the certificate. Package
// policy checks that the certificate is for the right host and currently valid.
func verifyHost(key *policy.Key, sessionID, signature []byte) error {
	if c := key.Cert; c != nil {
		if err := verify(c.CA, c.Signed, c.Signature); err != nil {
			return fmt.Errorf("%w: %w", errAuthority, err)
		}
	}
	if err := verify(key.Plain, sessionID, signature); err != nil {
		return fmt.Errorf("%w: %w", errSignature, err)
	}
	return nil
}

// verify verifies a signature blob over data with a plain public key. It refuses
// RSA with SHA-1, which no longer proves who signed.
func verify(blob, data, signature []byte) error {
	r := wire.NewReader(signature)
	format := string(r.String())
	sig := r.String()
	rest := r.Rest()
	if r.Err() != nil {
		return r.Err()
	}
	key, err := policy.ParseKey(blob)
	if err != nil {
		return err
	}
	// Only security keys append data to the signature: flags and a counter.
	if len(rest) != 0 && !strings.HasPrefix(key.Type, "sk-") {
		return wire.ErrTrailing
	}
	switch key.Type {
	case mldsa44Ed25519, mldsa44Ed25519First:
		if format != key.Type {
			return errAlgorithm
		}
		return verifyComposite(blob, data, sig)
	case ssh.KeyAlgoRSA:
		if format == ssh.KeyAlgoRSA {
			return errAlgorithm
		}
		if n := rsaBits(blob); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("RSA key of %d bits: %w", n, errAlgorithm)
		}
	}
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return err
	}
	return public.Verify(data, &ssh.Signature{Format: format, Blob: sig, Rest: rest})
}

func rsaBits(blob []byte) int {
	r := wire.NewReader(blob)
	r.String()
	r.Mpint() // exponent
	n := r.Mpint()
	if len(n) == 0 {
		return 0
	}
	return 8*(len(n)-1) + bits.Len8(n[0])
}

// mldsa44Ed25519 is OpenSSH's post-quantum key type: ML-DSA-44 and Ed25519, both
// of which must verify (draft-ietf-sshm-composite-sigs,
// draft-ietf-lamps-pq-composite-sigs). OpenSSH 10.6 uses the registered name,
// 10.4 and 10.5 the other.
const (
	mldsa44Ed25519      = "ssh-mldsa44-ed25519"
	mldsa44Ed25519First = "ssh-mldsa44-ed25519@openssh.com"
)

const (
	compositePrefix = "CompositeAlgorithmSignatures2025"
	compositeLabel  = "COMPSIG-MLDSA44-Ed25519-SHA512"
)

func verifyComposite(blob, data, sig []byte) error {
	r := wire.NewReader(blob)
	r.String()
	public := r.String()
	if len(public) != mldsa.MLDSA44PublicKeySize+ed25519.PublicKeySize ||
		len(sig) != mldsa.MLDSA44SignatureSize+ed25519.SignatureSize {
		return errAlgorithm
	}
	hash := sha512.Sum512(data)
	message := append([]byte(compositePrefix+compositeLabel), 0) // no context
	message = append(message, hash[:]...)
	lattice, err := mldsa.NewPublicKey(mldsa.MLDSA44(), public[:mldsa.MLDSA44PublicKeySize])
	if err != nil {
		return err
	}
	err = mldsa.Verify(lattice, message, sig[:mldsa.MLDSA44SignatureSize], &mldsa.Options{Context: compositeLabel})
	if err != nil {
		return err
	}
	if !ed25519.Verify(public[mldsa.MLDSA44PublicKeySize:], message, sig[mldsa.MLDSA44SignatureSize:]) {
		return errors.New("the Ed25519 half does not verify")
	}
	return nil
}
