// A private key in OpenSSH's own file format, without a passphrase (OpenSSH's
// PROTOCOL.key): SSH_AGENTC_ADD_IDENTITY's encoding between two wrappings.

import { randomBytes } from '@noble/hashes/utils';

import { bytesOf } from './canon.js';
import { concat } from './seal.js';

const string = (b) => {
  const bytes = typeof b === 'string' ? bytesOf(b) : b;
  const n = new Uint8Array(4);
  new DataView(n.buffer).setUint32(0, bytes.length);
  return concat(n, bytes);
};

export function opensshKey(publicBlob, secret, comment) {
  const check = randomBytes(4);
  let inner = concat(check, check, secret, string(comment));
  for (let i = 1; inner.length % 8 !== 0; i++) inner = concat(inner, Uint8Array.of(i));
  const one = Uint8Array.of(0, 0, 0, 1);
  const all = concat(bytesOf('openssh-key-v1\0'), string('none'), string('none'), string(''), one, string(publicBlob), string(inner));
  const lines = Buffer.from(all).toString('base64').match(/.{1,70}/g);
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`;
}
