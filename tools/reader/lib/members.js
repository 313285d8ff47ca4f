// The members object: docs/vault-format.md, "members".

import { ed25519 } from '@noble/curves/ed25519';
import { sha256 } from '@noble/hashes/sha2';

import { ascending, bytesOf, compareBytes, encodeBase64url, readHeader, Scanner, splitLines } from './canon.js';
import { concat, context } from './seal.js';
import { Refused, within } from './stage.js';

const maxObject = 64 << 20;
const maxLine = 1 << 20;
const maxRecords = 65536;
const maxIdentities = 4096;
const maxToken = 64;
const suite = 'MLKEM768X25519-HKDF-SHA256-AES-256-GCM';
const noHash = encodeBase64url(new Uint8Array(32));

const hashOf = (bytes) => encodeBase64url(sha256(bytes));

function readSeals(s) {
  const seals = s.list(maxIdentities, () => {
    s.literal('{"identity":');
    const identity = s.id();
    s.literal(',"sha256":');
    const sha = s.hash();
    s.literal('}');
    return { identity, sha256: sha };
  });
  if (seals.length === 0) s.literal('a seal');
  ascending(seals.map((x) => x.identity), 'seals');
  return seals;
}

// readRecord reads {"body":…,"sig":…} and keeps the body's bytes.
function readRecord(line) {
  const s = new Scanner(line);
  s.literal('{"body":');
  const from = s.at;
  const r = {};
  s.literal('{"seq":');
  r.seq = s.int();
  s.literal(',"prev":');
  r.prev = s.hash();
  s.literal(',"by":');
  r.by = s.id();
  s.literal(',"kind":');
  r.kind = s.token(maxToken);
  readFact(s, r);
  s.literal('}');
  r.body = bytesOf(s.line.slice(from, s.at));
  r.hash = hashOf(r.body);
  s.literal(',"sig":');
  r.sig = s.binary(64);
  s.literal('}');
  s.end();
  return r;
}

function readFact(s, r) {
  const identity = () => {
    s.literal(',"identity":');
    r.identity = s.id();
  };
  const keys = () => {
    s.literal(',"hpke":');
    r.hpke = s.binary(1216);
    s.literal(',"ed25519":');
    r.ed25519 = s.binary(32);
  };
  const unlock = () => {
    s.literal(',"unlock":');
    r.unlock = s.hash();
  };
  const kek = () => {
    s.literal(',"kek":');
    r.kek = s.int();
  };
  switch (r.kind) {
    case 'identity-added':
      identity();
      s.literal(',"role":');
      r.role = s.try('"owner"') ? 'owner' : (s.literal('"member"'), 'member');
      keys();
      if (r.seq === 0) {
        s.literal(',"random":');
        s.binary(16);
      }
      return;
    case 'identity-removed':
      return identity();
    case 'kek-made':
    case 'kek-sealed':
      kek();
      s.literal(',"seals":');
      r.seals = readSeals(s);
      return;
    case 'kek-retired':
      return kek();
    case 'unlock-set':
      identity();
      return unlock();
    case 'master-changed':
      identity();
      s.literal(',"master":');
      r.master = s.token(maxToken);
      return unlock();
    case 'rekeyed':
      identity();
      keys();
      return unlock();
    default:
      s.literal('a kind of version 1');
  }
}

// Chain is what the records so far say.
class Chain {
  identities = new Map(); // id → {role, hpke, ed25519, live, unlock, master, mayRotate}
  keks = new Map(); // version → {by, seq, live, seals: id → sha256}
  newest = 0;
  hashes = [];

  live() {
    return [...this.identities].filter(([, i]) => i.live);
  }

  add(r, line) {
    const refuse = (stage, what) => {
      throw new Refused('members', stage, what, line);
    };
    const n = this.hashes.length;
    if (r.seq !== n) refuse('chain', `record number is ${r.seq}, want ${n}`);
    if (r.prev !== (n ? this.hashes[n - 1] : noHash)) refuse('chain', 'names another record before it');
    if (n === 0 && (r.kind !== 'identity-added' || r.role !== 'owner' || r.identity !== r.by)) refuse('chain', 'record 0 adds no owner who signs it');
    if (n === 1 && (r.kind !== 'kek-made' || r.kek !== 1)) refuse('chain', 'record 1 makes no KEK 1');
    let signer = r;
    if (n > 0) {
      signer = this.identities.get(r.by);
      if (!signer?.live) refuse('authorisation', 'its signer is no live identity');
      if (!this.allows(signer, r)) refuse('authorisation', `a ${signer.role} may not append this ${r.kind}`);
    }
    if (!verify(r, signer.ed25519)) refuse('signature', 'not signed by its signer');
    const fault = this.apply(r);
    if (fault) refuse('chain', fault);
    this.hashes.push(r.hash);
  }

  allows(by, r) {
    const own = r.identity === r.by;
    if (r.kind === 'rekeyed') return own;
    if (by.role === 'owner') return true;
    switch (r.kind) {
      case 'unlock-set':
      case 'master-changed':
        return own;
      case 'kek-sealed':
        return r.seals.length === 1 && r.seals[0].identity === r.by;
      case 'kek-made':
        return by.mayRotate === true;
      case 'kek-retired':
        return this.keks.get(this.newest)?.by === r.by;
      default:
        return false;
    }
  }

  // apply returns what is wrong with a record, or nothing.
  apply(r) {
    const who = this.identities.get(r.identity);
    const kek = this.keks.get(r.kek);
    switch (r.kind) {
      case 'identity-added':
        if (who) return 'the identity was added before';
        if (this.live().length >= maxIdentities) return 'too many identities';
        this.identities.set(r.identity, { role: r.role, hpke: r.hpke, ed25519: r.ed25519, live: true });
        return;
      case 'identity-removed':
        if (!who?.live) return 'no live identity';
        if (who.role === 'owner' && this.live().filter(([, i]) => i.role === 'owner').length === 1) return 'the last owner';
        who.live = false;
        who.unlock = undefined;
        this.dropSeals(r.identity);
        return;
      case 'kek-made': {
        if (r.kek !== this.newest + 1) return `KEK ${r.kek} does not follow KEK ${this.newest}`;
        if (r.seals.length !== this.live().length || !r.seals.every((x) => this.identities.get(x.identity)?.live)) return 'not sealed to exactly the live identities';
        this.keks.set(r.kek, { by: r.by, seq: r.seq, live: true, seals: new Map(r.seals.map((x) => [x.identity, x.sha256])) });
        this.newest = r.kek;
        for (const i of this.identities.values()) i.mayRotate = false;
        return;
      }
      case 'kek-sealed':
        if (!kek?.live) return 'no live KEK';
        if (!r.seals.every((x) => this.identities.get(x.identity)?.live)) return 'sealed to no live identity';
        for (const x of r.seals) kek.seals.set(x.identity, x.sha256);
        return;
      case 'kek-retired':
        if (!kek?.live || r.kek === this.newest) return 'no live KEK, or the newest';
        kek.live = false;
        kek.seals.clear();
        return;
      case 'rekeyed':
        if (!who?.live) return 'no live identity';
        if (compareBytes(who.hpke, r.hpke) === 0 || compareBytes(who.ed25519, r.ed25519) === 0) return 'rekeyed with a key it has';
        who.hpke = r.hpke;
        who.ed25519 = r.ed25519;
        who.mayRotate = true;
        this.dropSeals(r.identity);
    }
    // unlock-set, master-changed, rekeyed
    if (!who?.live) return 'no live identity';
    who.unlock = r.unlock;
    who.master = r.master;
  }

  dropSeals(identity) {
    for (const k of this.keks.values()) k.seals.delete(identity);
  }
}

function verify(r, publicKey) {
  try {
    return ed25519.verify(r.sig, concat(context('vigil v1 record'), r.body), publicKey, { zip215: false });
  } catch {
    return false; // no point of the curve, or S ≥ L
  }
}

function readUnlock(line) {
  const s = new Scanner(line);
  const u = { kdf: {} };
  s.literal('{"unlock":{"identity":');
  u.identity = s.id();
  s.literal(',"kdf":{"name":');
  u.kdf.name = s.token(maxToken);
  s.literal(',"memory":');
  u.kdf.memory = s.int(2 ** 32 - 1);
  s.literal(',"time":');
  u.kdf.time = s.int(2 ** 32 - 1);
  s.literal(',"lanes":');
  u.kdf.lanes = s.int(255);
  s.literal(',"salt":');
  u.kdf.salt = s.binary(16);
  s.literal('},"master":');
  u.master = s.token(maxToken);
  s.literal(',"share":');
  u.share = s.binary(1, 6144);
  s.literal(',"halves":');
  u.halves = s.binary(144);
  s.literal('}}');
  s.end();
  return u;
}

function readSeal(line) {
  const s = new Scanner(line);
  s.literal('{"seal":{"identity":');
  const identity = s.id();
  s.literal(',"kek":');
  const kek = s.int();
  s.literal(`,"suite":"${suite}","sealed":`);
  const sealed = s.binary(1168);
  s.literal('}}');
  s.end();
  return { identity, kek, sealed };
}

// parseMembers reads and verifies a members object of a vault. It returns the
// chain, and what the blocks hold: unlocks (id → block) and seals ("kek id" → bytes).
export function parseMembers(data, vault) {
  const refuse = (stage, what, line) => {
    throw new Refused('members', stage, what, line);
  };
  if (data.length > maxObject) refuse('size', 'too large');
  const chain = new Chain();
  const unlocks = new Map();
  const seals = new Map();
  let lastBlock;
  for (const { bytes, number, ended } of splitLines(data)) {
    const strictly = (f) => within('members', 'syntax', number, f);
    if (bytes.length > maxLine) refuse('syntax', 'line too long', number);
    if (!ended) refuse('syntax', 'line is cut', number);
    const text = strictly(() => new Scanner(bytes).line);
    if (number === 1) {
      strictly(() => {
        const s = new Scanner(text);
        readHeader(s, 'members', vault, (stage, what) => refuse(stage, what, 1));
        s.literal('}');
        s.end();
      });
    } else if (!lastBlock && text.startsWith('{"body":')) {
      if (chain.hashes.length === maxRecords) refuse('syntax', 'too many records', number);
      const r = strictly(() => readRecord(text));
      if (chain.hashes.length === 0 && r.hash !== vault) refuse('vault', 'record 0 is that of another vault', number);
      chain.add(r, number);
    } else {
      if (lastBlock && compareBytes(lastBlock, bytes) >= 0) refuse('syntax', 'blocks are not sorted, each once', number);
      lastBlock = bytes;
      if (text.startsWith('{"unlock":')) {
        const u = strictly(() => readUnlock(text));
        const who = chain.identities.get(u.identity);
        if (!who?.live || who.unlock !== hashOf(bytes)) refuse('blocks', 'an unlock block that no record names', number);
        if (who.master !== undefined && who.master !== u.master) refuse('blocks', 'another master than its record says', number);
        unlocks.set(u.identity, u);
      } else {
        const x = strictly(() => readSeal(text));
        const k = chain.keks.get(x.kek);
        if (!k?.live || k.seals.get(x.identity) !== hashOf(bytes)) refuse('blocks', 'a seal that no record names', number);
        seals.set(`${x.kek} ${x.identity}`, x.sealed);
      }
    }
  }
  if (chain.hashes.length < 2) refuse('syntax', 'ends before record 1');
  const wantUnlocks = chain.live().filter(([, i]) => i.unlock !== undefined).length;
  const wantSeals = [...chain.keks.values()].reduce((n, k) => n + k.seals.size, 0);
  if (unlocks.size !== wantUnlocks || seals.size !== wantSeals) refuse('blocks', 'blocks are missing');
  return { chain, unlocks, seals };
}

// checkMembersPin compares with what the device has seen; without a pin it saw nothing.
export function checkMembersPin(chain, pin) {
  if (!pin) return;
  if (pin.seq >= chain.hashes.length) throw new Refused('members', 'rollback', `record ${pin.seq} was seen, and there are ${chain.hashes.length}`);
  if (chain.hashes[pin.seq] !== pin.hash) throw new Refused('members', 'fork', `record ${pin.seq} is another than was seen`);
}
