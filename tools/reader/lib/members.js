// The members object: docs/vault-format.md, "members".

import { sha256 } from '@noble/hashes/sha2';

import { bytesOf, compareBytes, encodeBase64url, readHeader, Scanner, splitLines } from './canon.js';
import { canSealTo } from './hpke.js';
import { concat, context, verifySignature } from './seal.js';
import { Refused, within } from './stage.js';

const maxObject = 64 << 20;
const maxLine = 1 << 20;
const maxRecords = 65536;
const maxIdentities = 4096;
const maxKEKs = 64;
// Room that only owners may use, and what another identity may append in all.
const othersRecords = 49152;
const othersBytes = 41943040;
const maxOwnRecords = 64;
const maxToken = 64;
const suite = 'MLKEM768X25519-HKDF-SHA256-AES-256-GCM';
const noHash = encodeBase64url(new Uint8Array(32));

const hashOf = (bytes) => encodeBase64url(sha256(bytes));

// readSeals reads the seals that a record names to the identity it is about.
function readSeals(s) {
  const seals = s.list(maxKEKs, () => {
    s.literal('{"kek":');
    const kek = s.int();
    s.literal(',"sha256":');
    const sha = s.hash();
    s.literal('}');
    return { kek, sha256: sha };
  });
  if (seals.length === 0) s.literal('a seal');
  seals.reduce((last, x) => (x.kek > last ? x.kek : s.literal('seals by KEK, each once')), 0);
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
  const seals = () => {
    s.literal(',"seals":');
    r.seals = readSeals(s);
  };
  const lastDeks = () => {
    s.literal(',"deks":');
    r.deks = s.hash();
  };
  switch (r.kind) {
    case 'identity-added':
      identity();
      s.literal(',"role":');
      r.role = ['owner', 'member', 'reader'].find((x) => s.try(`"${x}"`)) ?? s.literal('a role');
      keys();
      if (r.seq === 0) {
        s.literal(',"random":');
        s.binary(16);
        return;
      }
      unlock();
      return seals();
    case 'identity-removed':
      identity();
      return lastDeks();
    case 'kek-made':
      kek();
      s.literal(',"seals":');
      r.sealed = s.hash();
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
      unlock();
      seals();
      return lastDeks();
    default:
      s.literal('a kind of version 1');
  }
}

// Chain is what the records so far say.
class Chain {
  identities = new Map(); // id → {role, hpke, ed25519, live, added, removed, keyAt, seals, unlock, master, own, went}
  keks = new Map(); // version → {at, live, sealed}
  newest = 0;
  hashes = [];
  size = 0; // bytes of the records' lines

  live() {
    return [...this.identities].filter(([, i]) => i.live);
  }

  add(r, line, bytes) {
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
      if (signer.role !== 'owner' && (signer.own >= maxOwnRecords || n >= othersRecords || this.size > othersBytes)) refuse('authorisation', 'what room is left is the owners\'');
    }
    if (!verifySignature(r.sig, concat(context('vigil v1 record'), r.body), signer.ed25519)) refuse('signature', 'not signed by its signer');
    const fault = this.apply(r);
    if (fault) refuse('chain', fault);
    this.identities.get(r.by).own++;
    this.size += bytes;
    this.hashes.push(r.hash);
  }

  allows(by, r) {
    return ['unlock-set', 'master-changed', 'rekeyed'].includes(r.kind) ? r.identity === r.by : by.role === 'owner';
  }

  // lose keeps the key of who goes, or gets another, for its last deks.
  lose(r, who) {
    if (who.role !== 'reader') who.went.push({ deks: r.deks, key: who.ed25519 });
  }

  // keysFault says what is wrong with new public keys and the seals to them.
  keysFault(r) {
    if (!canSealTo(r.hpke)) return 'nobody can seal to the public key';
    if ((r.seals ?? []).some((x) => !this.keks.get(x.kek)?.live)) return 'a seal of no live KEK';
  }

  // apply returns what is wrong with a record, or nothing.
  apply(r) {
    const who = this.identities.get(r.identity);
    const kek = this.keks.get(r.kek);
    const keys = { hpke: r.hpke, ed25519: r.ed25519, keyAt: r.seq, seals: r.seals ?? [], unlock: r.unlock };
    switch (r.kind) {
      case 'identity-added': {
        if (who) return 'the identity was added before';
        if (this.live().length >= maxIdentities) return 'too many identities';
        const fault = this.keysFault(r);
        if (fault) return fault;
        this.identities.set(r.identity, { ...keys, role: r.role, live: true, added: r.seq, own: 0, went: [] });
        return;
      }
      case 'identity-removed':
        if (!who?.live) return 'no live identity';
        if (who.role === 'owner' && this.live().filter(([, i]) => i.role === 'owner').length === 1) return 'the last owner';
        who.went = who.went.filter((w) => w.deks === r.deks);
        this.lose(r, who);
        Object.assign(who, { live: false, removed: r.seq, seals: [], unlock: undefined });
        return;
      case 'kek-made':
        if (r.kek !== this.newest + 1) return `KEK ${r.kek} does not follow KEK ${this.newest}`;
        if ([...this.keks.values()].filter((k) => k.live).length === maxKEKs) return 'too many KEKs';
        this.keks.set(r.kek, { at: r.seq, live: true, sealed: r.sealed });
        this.newest = r.kek;
        return;
      case 'kek-retired':
        if (!kek?.live || r.kek === this.newest) return 'no live KEK, or the newest';
        kek.live = false;
        return;
    }
    // unlock-set, master-changed, rekeyed
    if (!who?.live) return 'no live identity';
    if (r.kind === 'unlock-set' && who.unlock !== undefined) return 'it has an unlock block';
    if (r.kind === 'rekeyed') {
      if (compareBytes(who.hpke, r.hpke) === 0 || compareBytes(who.ed25519, r.ed25519) === 0) return 'rekeyed with a key it has';
      const fault = this.keysFault(r);
      if (fault) return fault;
      this.lose(r, who);
      Object.assign(who, keys);
    }
    who.unlock = r.unlock;
    who.master = r.master;
  }

  // wanted are the seals that there must be: "record kek id" → their own hash, or
  // undefined where the KEK's record has one for all of its seals.
  wanted() {
    const out = new Map();
    for (const [version, k] of this.keks) {
      if (!k.live) continue;
      for (const [id, i] of this.identities) {
        if (i.added < k.at && (i.live || i.removed > k.at)) out.set(`${k.at} ${version} ${id}`, undefined);
        const own = i.live && i.seals.find((x) => x.kek === version);
        if (own) out.set(`${i.keyAt} ${version} ${id}`, own.sha256);
      }
    }
    return out;
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
  s.literal('{"seal":{"record":');
  const record = s.int();
  s.literal(',"identity":');
  const identity = s.id();
  s.literal(',"kek":');
  const kek = s.int();
  s.literal(`,"suite":"${suite}","sealed":`);
  const sealed = s.binary(1168);
  s.literal('}}');
  s.end();
  return { record, identity, kek, sealed };
}

// parseMembers reads and verifies a members object of a vault. It returns the
// chain, and what the blocks hold: unlocks (id → block) and seals ("kek id" → the
// bytes of the one with the highest record).
export function parseMembers(data, vault) {
  const refuse = (stage, what, line) => {
    throw new Refused('members', stage, what, line);
  };
  if (data.length > maxObject) refuse('size', 'too large');
  const chain = new Chain();
  const unlocks = new Map();
  const seals = new Map();
  const sums = new Map(); // KEK version → the lines of its record's seals
  let wanted;
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
      chain.add(r, number, bytes.length + 1);
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
        wanted ??= chain.wanted();
        const key = `${x.record} ${x.kek} ${x.identity}`;
        if (!wanted.has(key)) refuse('blocks', 'a seal that no record names', number);
        const own = wanted.get(key);
        if (own !== undefined && own !== hashOf(bytes)) refuse('blocks', 'a seal that is not the one its record names', number);
        if (own === undefined) sums.set(x.kek, concat(sums.get(x.kek) ?? new Uint8Array(0), bytes, Uint8Array.of(0x0a)));
        wanted.delete(key);
        const last = seals.get(`${x.kek} ${x.identity}`);
        if (!(last?.record > x.record)) seals.set(`${x.kek} ${x.identity}`, x);
      }
    }
  }
  if (chain.hashes.length < 2) refuse('syntax', 'ends before record 1');
  const wantUnlocks = chain.live().filter(([, i]) => i.unlock !== undefined).length;
  if (unlocks.size !== wantUnlocks || (wanted ?? chain.wanted()).size > 0) refuse('blocks', 'blocks are missing');
  for (const [version, k] of chain.keks) {
    if (k.live && hashOf(sums.get(version)) !== k.sealed) refuse('blocks', `the seals of KEK ${version} are not those that its record names`);
  }
  return { chain, unlocks, seals };
}

// checkMembersPin compares with what the device has seen; without a pin it saw nothing.
export function checkMembersPin(chain, pin) {
  if (!pin) return;
  if (pin.seq >= chain.hashes.length) throw new Refused('members', 'rollback', `record ${pin.seq} was seen, and there are ${chain.hashes.length}`);
  if (chain.hashes[pin.seq] !== pin.hash) throw new Refused('members', 'fork', `record ${pin.seq} is another than was seen`);
}
