// HPKE (RFC 9180), base mode, one message: KEM 0x647a (X-Wing), KDF 0x0001
// (HKDF-SHA256), AEAD 0x0002 (AES-256-GCM), from its parts.

import { x25519 } from '@noble/curves/ed25519';
import { expand, extract } from '@noble/hashes/hkdf';
import { sha256 } from '@noble/hashes/sha2';
import { sha3_256, shake256 } from '@noble/hashes/sha3';
import { ml_kem768 } from '@noble/post-quantum/ml-kem';

import { bytesOf } from './canon.js';
import { concat, decrypt } from './seal.js';

const suite = concat(bytesOf('HPKE'), Uint8Array.of(0x64, 0x7a, 0x00, 0x01, 0x00, 0x02));
const version = bytesOf('HPKE-v1');
const none = new Uint8Array(0);
const modulus = 3329; // of ML-KEM
const encapsulated = 1120; // 1,088 of ML-KEM-768 and 32 of X25519

const labeledExtract = (salt, label, ikm) => extract(sha256, concat(version, suite, bytesOf(label), ikm), salt);

const labeledExpand = (prk, label, info, n) =>
  expand(sha256, prk, concat(Uint8Array.of(n >> 8, n & 255), version, suite, bytesOf(label), info), n);

// expandSeed makes X-Wing's key pairs of its private key, a seed of 32 bytes.
function expandSeed(seed) {
  const e = shake256(seed, { dkLen: 96 });
  const m = ml_kem768.keygen(e.subarray(0, 64));
  const x = e.subarray(64);
  return { m, x, xPublic: x25519.getPublicKey(x) };
}

// publicKey is that of a private key: 1,216 bytes.
export function publicKey(seed) {
  const k = expandSeed(seed);
  return concat(k.m.publicKey, k.xPublic);
}

const xwingLabel = Uint8Array.of(0x5c, 0x2e, 0x2f, 0x2f, 0x5e, 0x5c); // \.//^\

function decapsulate(seed, enc) {
  const k = expandSeed(seed);
  const mSecret = ml_kem768.decapsulate(enc.subarray(0, 1088), k.m.secretKey);
  const xEnc = enc.subarray(1088);
  const xSecret = x25519.getSharedSecret(k.x, xEnc);
  return sha3_256(concat(mSecret, xSecret, xEnc, k.xPublic, xwingLabel));
}

// canSealTo says whether anybody can seal to a public key: "Good public keys".
export function canSealTo(key) {
  // Three polynomials of 256 coefficients, two of them in three bytes, and a seed.
  for (let at = 0; at < 1152; at += 3) {
    const [a, b, c] = key.subarray(at, at + 3);
    if ((a | ((b & 15) << 8)) >= modulus || ((b >> 4) | (c << 4)) >= modulus) return false;
  }
  try {
    x25519.getSharedSecret(new Uint8Array(32).fill(1), key.subarray(1184)); // throws for zero
    return true;
  } catch {
    return false;
  }
}

// openBase undoes SealBase with empty AAD. It throws SealError('damaged') for
// another key, another info and a changed seal alike.
export function openBase(seed, info, sealed) {
  const shared = decapsulate(seed, sealed.subarray(0, encapsulated));
  const schedule = concat(Uint8Array.of(0), labeledExtract(none, 'psk_id_hash', none), labeledExtract(none, 'info_hash', info));
  const secret = labeledExtract(shared, 'secret', none);
  const key = labeledExpand(secret, 'key', schedule, 32);
  const nonce = labeledExpand(secret, 'base_nonce', schedule, 12);
  return decrypt(key, nonce, none, sealed.subarray(encapsulated));
}
