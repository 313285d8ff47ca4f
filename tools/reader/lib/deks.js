// The deks object: docs/vault-format.md, "deks".

import { hmac } from '@noble/hashes/hmac';
import { sha256 } from '@noble/hashes/sha2';

import { compareBytes, decodeBase64url, encodeBase64url, readHeader, readParents, Scanner, splitLines } from './canon.js';
import { context, deriveKey, equal, uint64 } from './seal.js';
import { NotCanonical, Refused, within } from './stage.js';

const maxObject = 64 << 20;
const maxLine = 1 << 20;

function takeHeader(d, text, refuse) {
  const s = new Scanner(text);
  readHeader(s, 'deks', d.vault, refuse);
  s.literal(',"epoch":');
  d.epoch = s.int();
  s.literal(',"kek":');
  d.kek = s.int();
  s.literal(',"head":');
  d.head = s.hash();
  s.literal('}');
  s.end();
  if (d.epoch === 0 || d.kek === 0) throw new NotCanonical('epoch or KEK is 0');
}

function takeRevision(d, text, number) {
  const s = new Scanner(text);
  s.literal('{"item":');
  const e = { line: number, item: s.id() };
  s.literal(',"revision":');
  e.revision = s.id();
  s.literal(',"parents":');
  e.parents = readParents(s);
  s.literal(',"kek":');
  e.kek = s.int();
  s.literal(',"dek":');
  e.dek = s.binary(112);
  s.literal(',"superseded":');
  e.superseded = s.int();
  s.literal('}');
  s.end();
  if (d.revisions.has(e.revision)) throw new NotCanonical('a revision appears twice');
  d.revisions.set(e.revision, e);
}

function takeTombstone(d, text) {
  const s = new Scanner(text);
  s.literal('{"tombstone":');
  const item = s.id();
  s.literal(',"epoch":');
  const epoch = s.int();
  s.literal('}');
  s.end();
  if (epoch < 1 || epoch > d.epoch) throw new NotCanonical('tombstone of an epoch to come');
  if (d.tombstones.has(item)) throw new NotCanonical('an item has two tombstones');
  d.tombstones.set(item, epoch);
}

function takeMAC(d, text) {
  for (const e of d.revisions.values()) if (d.tombstones.has(e.item)) throw new NotCanonical('a removed item has a DEK');
  const s = new Scanner(text);
  s.literal('{"mac":');
  d.mac = s.binary(32);
  s.literal('}');
  s.end();
}

// parseDeks checks everything but the MAC and what needs members.
export function parseDeks(data, vault) {
  const refuse = (stage, what, line) => {
    throw new Refused('deks', stage, what, line);
  };
  if (data.length > maxObject) refuse('size', 'too large');
  const d = { vault, revisions: new Map(), tombstones: new Map(), sha256: encodeBase64url(sha256(data)) };
  let last;
  for (const { bytes, number, ended, from } of splitLines(data)) {
    if (d.mac) refuse('syntax', 'a line after the MAC', number);
    if (bytes.length > maxLine) refuse('syntax', 'line too long', number);
    if (!ended) refuse('syntax', 'line is cut', number);
    within('deks', 'syntax', number, () => {
      const text = new Scanner(bytes).line;
      if (number === 1) return takeHeader(d, text, (stage, what) => refuse(stage, what, 1));
      if (text.startsWith('{"mac":')) {
        takeMAC(d, text);
        d.authenticated = data.subarray(0, from);
        return;
      }
      if (last && compareBytes(last, bytes) >= 0) throw new NotCanonical('lines are not sorted, each once');
      last = bytes;
      if (text.startsWith('{"tombstone":')) takeTombstone(d, text);
      else takeRevision(d, text, number);
    });
  }
  if (!d.mac) refuse('syntax', 'ends before its MAC');
  return d;
}

export function checkDeksPin(d, pin) {
  if (!pin) return;
  if (d.epoch < pin.epoch || d.kek < pin.kek) throw new Refused('deks', 'rollback', `epoch ${d.epoch} and KEK ${d.kek}, ${pin.epoch} and ${pin.kek} were seen`);
  if (d.epoch === pin.epoch && d.sha256 !== pin.sha256) throw new Refused('deks', 'fork', `another object of epoch ${d.epoch} was seen`);
}

// verifyDeks checks a deks object against the chain and its MAC. keks are the
// opened ones, by version.
export function verifyDeks(d, chain, keks) {
  const refuse = (stage, what, line) => {
    throw new Refused('deks', stage, what, line);
  };
  const at = chain.hashes.indexOf(d.head);
  if (at < 0) refuse('head', 'its head is no record of members', 1);
  const k = chain.keks.get(d.kek);
  if (!k?.live || k.seq > at) refuse('kek', `KEK ${d.kek} is not live`, 1);
  for (const e of d.revisions.values()) {
    if (!chain.keks.get(e.kek)?.live || e.kek > d.kek) refuse('kek', `KEK ${e.kek} is not live, or newer than the MAC's`, e.line);
  }
  const kek = keks.get(d.kek);
  if (!kek) refuse('mac', `the identity has no seal of KEK ${d.kek}`);
  const key = deriveKey(kek, undefined, context('vigil v1 deks mac', decodeBase64url(d.vault), uint64(d.kek)), 32);
  if (!equal(hmac(sha256, key, d.authenticated), d.mac)) refuse('mac', 'its MAC is wrong');
}
