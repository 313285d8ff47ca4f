// Contexts, seals and padding: docs/vault-format.md, "Contexts and seals".

import { gcm } from '@noble/ciphers/aes';
import { ed25519 } from '@noble/curves/ed25519';
import { hkdf } from '@noble/hashes/hkdf';
import { sha256 } from '@noble/hashes/sha2';

import { bytesOf } from './canon.js';

export const concat = (...parts) => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
};

const uint32 = (n) => {
  const b = new Uint8Array(4);
  new DataView(b.buffer).setUint32(0, n);
  return b;
};

export const uint64 = (n) => {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, BigInt(n));
  return b;
};

export function context(label, ...fields) {
  const all = [bytesOf(label), ...fields.map((f) => (typeof f === 'string' ? bytesOf(f) : f))];
  return concat(...all.flatMap((f) => [uint32(f.length), f]));
}

export const deriveKey = (ikm, salt, info, n) => hkdf(sha256, ikm, salt, info, n);

export function verifySignature(sig, message, publicKey) {
  try {
    return ed25519.verify(sig, message, publicKey, { zip215: false });
  } catch {
    return false; // no point of the curve, or S ≥ L
  }
}

// equal takes the same time wherever two values differ.
export function equal(a, b) {
  if (a.length !== b.length) return false;
  let d = 0;
  for (let i = 0; i < a.length; i++) d |= a[i] ^ b[i];
  return d === 0;
}

// SealError's message is the stage: wrong-key, damaged or padding.
export class SealError extends Error {}

export function decrypt(key, nonce, aad, sealed) {
  try {
    return gcm(key, nonce, aad).decrypt(sealed);
  } catch {
    throw new SealError('damaged');
  }
}

// open undoes the one symmetric seal of the format.
export function open(key, cx, sealed) {
  if (sealed.length < 80) throw new SealError('damaged');
  const okm = deriveKey(key, sealed.subarray(0, 32), cx, 64);
  if (!equal(okm.subarray(32), sealed.subarray(32, 64))) throw new SealError('wrong-key');
  return decrypt(okm.subarray(0, 32), new Uint8Array(12), cx, sealed.subarray(64));
}

const metaLength = (n) => 512 * (Math.floor(n / 512) + 1);

const secretLength = (n) => {
  let padded = 512;
  while (padded <= n) padded *= 2;
  return padded;
};

function unpad(padded, lengthFor, max) {
  let n = padded.length - 1;
  while (n >= 0 && padded[n] === 0) n--;
  if (n < 0 || padded[n] !== 0x80 || lengthFor(n) !== padded.length || padded.length > max) throw new SealError('padding');
  return padded.subarray(0, n);
}

export const unpadMeta = (b) => unpad(b, metaLength, 65536);
export const unpadSecret = (b) => unpad(b, secretLength, 262144);
