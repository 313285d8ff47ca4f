// Canonical JSON Lines: docs/vault-format.md, "Lines" and "Canonical JSON". A
// Scanner is told what comes next and accepts nothing else.

import { NotCanonical } from './stage.js';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

export const bytesOf = (text) => encoder.encode(text);

// textOf decodes UTF-8 and refuses what isn't.
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new NotCanonical('not UTF-8');
  }
}

// splitLines yields each line's bytes, its number and whether it is ended by LF.
export function splitLines(data) {
  const lines = [];
  for (let from = 0, number = 1; from < data.length; number++) {
    let end = data.indexOf(0x0a, from);
    const ended = end >= 0;
    if (!ended) end = data.length;
    lines.push({ bytes: data.subarray(from, end), number, ended, from });
    from = end + 1;
  }
  return lines;
}

// compareBytes is text order.
export function compareBytes(a, b) {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

export const compareText = (a, b) => compareBytes(bytesOf(a), bytesOf(b));

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const value = new Map([...alphabet].map((c, i) => [c, i]));

export function encodeBase64url(bytes) {
  let out = '';
  let bits = 0;
  let n = 0;
  for (const b of bytes) {
    bits = (bits << 8) | b;
    for (n += 8; n >= 6; n -= 6) out += alphabet[(bits >> (n - 6)) & 63];
    bits &= 63; // fewer than 6 bits are left
  }
  return n ? out + alphabet[(bits << (6 - n)) & 63] : out;
}

export function decodeBase64url(text) {
  if (text.length % 4 === 1) throw new NotCanonical('base64url of no number of bytes');
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let n = 0;
  let at = 0;
  for (const c of text) {
    const v = value.get(c);
    if (v === undefined) throw new NotCanonical('not base64url');
    bits = ((bits << 6) | v) & 0x3fff;
    n += 6;
    if (n >= 8) {
      n -= 8;
      out[at++] = (bits >> n) & 255;
    }
  }
  if (bits & ((1 << n) - 1)) throw new NotCanonical('unused bits of base64url are not zero');
  return out;
}

export class Scanner {
  constructor(line) {
    this.line = typeof line === 'string' ? line : textOf(line);
    this.at = 0;
  }

  // try reads s if it comes next, and says whether it did.
  try(s) {
    if (!this.line.startsWith(s, this.at)) return false;
    this.at += s.length;
    return true;
  }

  literal(s) {
    if (!this.try(s)) throw new NotCanonical(`want ${s} at ${this.at}`);
  }

  match(pattern, what) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.line);
    if (!found) throw new NotCanonical(`want ${what} at ${this.at}`);
    this.at += found[0].length;
    return found;
  }

  // binary reads min to max bytes (exactly min without max), keeping their text.
  binaryText(min, max = min) {
    const text = this.match(/"([A-Za-z0-9_-]*)"/y, 'base64url')[1];
    const n = decodeBase64url(text).length;
    if (n < min || n > max) throw new NotCanonical(`${n} bytes, want ${min} to ${max}`);
    return text;
  }

  binary(min, max = min) {
    return decodeBase64url(this.binaryText(min, max));
  }

  // id and hash return the text, which is what ids are compared and sorted by.
  id() {
    return this.binaryText(16);
  }

  hash() {
    return this.binaryText(32);
  }

  int(max = Number.MAX_SAFE_INTEGER) {
    const n = Number(this.match(/0|[1-9][0-9]{0,15}/y, 'an integer')[0]);
    if (n > max) throw new NotCanonical('integer too large');
    return n;
  }

  token(max) {
    const t = this.match(/"([!#-[\]-~]*)"/y, 'a token')[1];
    if (t.length < 1 || t.length > max) throw new NotCanonical(`token of ${t.length} characters`);
    return t;
  }

  // text reads a string in the one form that RFC 8785 gives it.
  text(max) {
    const raw = this.match(/"(?:[^"\\\u0000-\u001f]|\\.)*"/y, 'text')[0];
    let t;
    try {
      t = JSON.parse(raw);
    } catch {
      throw new NotCanonical('text with an unknown escape');
    }
    if (JSON.stringify(t) !== raw || /\\u[dD]/.test(raw)) throw new NotCanonical('text escaped otherwise');
    if (bytesOf(t).length > max) throw new NotCanonical('text too long');
    return t;
  }

  // list reads [x, …].
  list(max, element) {
    const out = [];
    this.literal('[');
    if (this.try(']')) return out;
    do {
      if (out.length === max) throw new NotCanonical(`more than ${max} elements`);
      out.push(element());
    } while (this.try(','));
    this.literal(']');
    return out;
  }

  end() {
    if (this.at !== this.line.length) throw new NotCanonical(`want the end at ${this.at}`);
  }
}

// ascending refuses a list that isn't sorted, each element once.
export function ascending(list, what) {
  for (let i = 1; i < list.length; i++) {
    if (compareText(list[i - 1], list[i]) >= 0) throw new NotCanonical(`${what} are not sorted, each once`);
  }
  return list;
}

// parents of a revision: at most 32, in text order.
export function readParents(s) {
  return ascending(s.list(32, () => s.id()), 'parents');
}

// readHeader reads {"vigil":KIND,"version":1,"vault":ID up to there, and refuses
// other versions and, when vault is given, other vaults.
export function readHeader(s, kind, vault, refuse) {
  s.literal(`{"vigil":"${kind}","version":`);
  const version = s.int();
  if (version !== 1) refuse('version', `version ${version}`);
  s.literal(',"vault":');
  const found = s.hash();
  if (vault && found !== vault) refuse('vault', `of vault ${found}`);
  return found;
}
