// The deks object: docs/vault-format.md, "deks".

import { hmac } from '@noble/hashes/hmac';
import { sha256 } from '@noble/hashes/sha2';

import { compareBytes, decodeBase64url, encodeBase64url, readHeader, readParents, Scanner, splitLines } from './canon.js';
import { context, deriveKey, equal, uint64, verifySignature } from './seal.js';
import { NotCanonical, Refused, within } from './stage.js';

const maxObject = 64 << 20;
const maxLine = 1 << 20;
const maxEpoch = 2 ** 32;
const maxStep = 2 ** 20; // of epochs, between two looks

function takeHeader(d, text, refuse) {
  const s = new Scanner(text);
  readHeader(s, 'deks', d.vault, refuse);
  s.literal(',"kek":');
  d.kek = s.int();
  s.literal(',"epoch":');
  d.epoch = s.int(maxEpoch);
  s.literal(',"head":');
  d.head = s.hash();
  s.literal(',"by":');
  d.by = s.id();
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
  s.literal(',"line":');
  e.hash = s.hash();
  s.literal(',"tightens":');
  e.tightens = s.int(1) === 1;
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
  s.literal('}');
  s.end();
  d.tombstones.add(item);
}

function takeEnd(d, text) {
  for (const e of d.revisions.values()) if (d.tombstones.has(e.item)) throw new NotCanonical('a removed item has a DEK');
  const s = new Scanner(text);
  s.literal('{"mac":');
  d.mac = s.binary(32);
  s.literal(',"sig":');
  d.sig = s.binary(64);
  s.literal('}');
  s.end();
}

// parseDeks checks everything but MAC and signature and what needs members.
export function parseDeks(data, vault) {
  const refuse = (stage, what, line) => {
    throw new Refused('deks', stage, what, line);
  };
  if (data.length > maxObject) refuse('size', 'too large');
  const d = { vault, revisions: new Map(), tombstones: new Set() };
  let last;
  for (const { bytes, number, ended, from } of splitLines(data)) {
    if (d.mac) refuse('syntax', 'a line after the MAC', number);
    if (bytes.length > maxLine) refuse('syntax', 'line too long', number);
    if (!ended) refuse('syntax', 'line is cut', number);
    within('deks', 'syntax', number, () => {
      const text = new Scanner(bytes).line;
      if (number === 1) return takeHeader(d, text, (stage, what) => refuse(stage, what, 1));
      if (text.startsWith('{"mac":')) {
        takeEnd(d, text);
        d.hash = sha256(data.subarray(0, from));
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

// checkDeksPin compares the numbers with what the device has seen: whether it is
// older, and for one that was verified whether it is another.
export function checkDeksPin(d, pin, verified) {
  if (!pin) return;
  const refuse = (stage) => {
    throw new Refused('deks', stage, `epoch ${d.epoch} of KEK ${d.kek}, and ${pin.epoch} of ${pin.kek} was seen`);
  };
  const from = d.kek > pin.kek ? 0 : pin.epoch;
  if (d.kek < pin.kek || d.epoch < from) refuse('rollback');
  if (!verified) return;
  if (d.kek === pin.kek && d.epoch === from && encodeBase64url(d.hash) !== pin.sha256) refuse('fork');
  if (d.epoch - from > maxStep) refuse('fork');
}

// verifyDeks checks a deks object against the chain, its signature and its MAC.
// keks are the opened ones, by version.
export function verifyDeks(d, chain, keks) {
  const refuse = (stage, what, line) => {
    throw new Refused('deks', stage, what, line);
  };
  const at = chain.hashes.indexOf(d.head);
  if (at < 0) refuse('head', 'its head is no record of members', 1);
  const k = chain.keks.get(d.kek);
  if (!k?.live || k.at > at) refuse('kek', `KEK ${d.kek} is not live`, 1);
  if (chain.keks.get(d.kek + 1)?.at <= at) refuse('kek', `its writer knew KEK ${d.kek + 1}`, 1);
  const message = context('vigil v1 deks', d.hash);
  const who = chain.identities.get(d.by);
  if (!who || who.role === 'reader') refuse('authorisation', 'its writer may not write', 1);
  const hash = encodeBase64url(d.hash);
  if (!who.went.some((w) => w.deks === hash && verifySignature(d.sig, message, w.key))) {
    if (!who.live) refuse('authorisation', 'its writer is no live identity', 1);
    if (!verifySignature(d.sig, message, who.ed25519)) refuse('signature', 'not signed by its writer');
  }
  const kek = keks.get(d.kek);
  if (!kek) refuse('kek', `the identity has no seal of KEK ${d.kek} that opens`);
  const key = deriveKey(kek, undefined, context('vigil v1 deks mac', decodeBase64url(d.vault), uint64(d.kek)), 32);
  if (!equal(hmac(sha256, key, d.hash), d.mac)) refuse('mac', 'its MAC is wrong');
}

// checkFollows checks that a deks object can have come of the last one that the
// device accepted.
export function checkFollows(d, last) {
  const refuse = (what) => {
    throw new Refused('deks', 'fork', what);
  };
  for (const item of last.tombstones) if (!d.tombstones.has(item)) refuse(`item ${item} was removed`);
  for (const e of last.revisions.values()) {
    if (d.tombstones.has(e.item)) continue;
    const now = d.revisions.get(e.revision);
    if (!now) {
      if (!replaces(d, e, last)) refuse(`revision ${e.revision} is gone`);
    } else if (now.item !== e.item || `${now.parents}` !== `${e.parents}` || now.hash !== e.hash || now.tightens !== e.tightens) {
      refuse(`revision ${e.revision} has become another`);
    } else if (e.superseded !== 0 && now.superseded === 0) refuse(`revision ${e.revision} is in use again`);
  }
}

// replaces says whether d has a revision that came after e.
function replaces(d, e, last) {
  return [...d.revisions.values()].some((later) => {
    if (later.item !== e.item) return false;
    let unknown = false;
    const seen = new Set();
    for (const todo = [...later.parents]; todo.length > 0; ) {
      const p = todo.pop();
      if (p === e.revision) return true;
      if (seen.has(p)) continue;
      seen.add(p);
      const a = d.revisions.get(p) ?? last.revisions.get(p);
      if (a) todo.push(...a.parents);
      else unknown = true;
    }
    return unknown && !last.revisions.has(later.revision);
  });
}
