// The vault file: docs/vault-format.md, "The vault file".

import { sha256 } from '@noble/hashes/sha2';

import { ascending, encodeBase64url, readHeader, readParents, Scanner, splitLines } from './canon.js';
import { NotCanonical, Refused } from './stage.js';

const maxFile = 256 << 20;
const maxLine = 512 << 10;
const maxDamaged = 10000;
const minSealed = 592;
const maxSealed = 262224;

// readFirst returns the vault id that a header names.
function readFirst(line) {
  const refuse = (stage, what) => {
    throw new Refused('vault', stage, what, 1);
  };
  try {
    const s = new Scanner(line);
    const vault = readHeader(s, 'vault', undefined, refuse);
    s.literal('}');
    s.end();
    return vault;
  } catch (e) {
    if (e instanceof NotCanonical) refuse('header', e.message);
    throw e;
  }
}

function readRevision(line) {
  if (line.length > maxLine) throw new NotCanonical('line too long');
  const s = new Scanner(line);
  s.literal('{"item":');
  const v = { item: s.id() };
  s.literal(',"revision":');
  v.revision = s.id();
  s.literal(',"parents":');
  v.parents = readParents(s);
  s.literal(',"meta":');
  v.meta = s.binary(minSealed, maxSealed);
  s.literal(',"secret":');
  v.secret = s.binary(minSealed, maxSealed);
  s.literal('}');
  s.end();
  return v;
}

// otherHeader says which other vault a line is the header of.
function otherHeader(line, vault) {
  try {
    const other = readFirst(line);
    return other === vault ? undefined : other;
  } catch {
    return undefined;
  }
}

// parseVault reads a vault file: its vault, the lines that can be read, each
// once, and those that can't. want is the vault id that the device knows, if any.
export function parseVault(data, want) {
  if (data.length > maxFile) throw new Refused('vault', 'size', 'too large');
  const [first, ...rest] = splitLines(data);
  if (!first) throw new Refused('vault', 'header', 'empty', 1);
  const vault = readFirst(first.bytes);
  if (want && vault !== want) throw new Refused('vault', 'vault', `of vault ${vault}, want ${want}`, 1);
  const header = `{"vigil":"vault","version":1,"vault":"${vault}"}`;
  const lines = new Map();
  const damaged = [];
  for (const { bytes, number } of rest) {
    const text = Buffer.from(bytes).toString('latin1'); // for comparing only
    if (text === header || lines.has(text)) continue;
    if (text.startsWith('{"vigil":')) {
      const other = otherHeader(bytes, vault);
      if (other) throw new Refused('vault', 'vault', `header of vault ${other}`, number);
    }
    try {
      lines.set(text, { line: number, hash: encodeBase64url(sha256(bytes)), ...readRevision(bytes) });
    } catch (e) {
      if (!(e instanceof NotCanonical)) throw e;
      damaged.push({ line: number, what: e.message });
      if (damaged.length > maxDamaged) throw new Refused('vault', 'syntax', 'too many damaged lines', number);
    }
  }
  return { vault, lines: [...lines.values()], damaged };
}

// states gives each line its state, and lists the heads that are missing. opens
// says whether a genuine line opens. held are the items of which something
// stricter is missing.
export function states(lines, deks, opens) {
  const superseded = new Set();
  const here = new Set();
  // ancestors calls visit for those of e, going on from where it returns true.
  const ancestors = (e, visit) => {
    for (const todo = [...e.parents]; todo.length > 0; ) {
      const a = deks.revisions.get(todo.pop());
      if (a && a.item === e.item && visit(a)) todo.push(...a.parents);
    }
  };
  const out = lines.map((v) => {
    if (deks.tombstones.has(v.item)) return 'deleted';
    const e = deks.revisions.get(v.revision);
    if (e?.item !== v.item) return 'waiting for its key';
    if (e.hash !== v.hash) return 'forged';
    if (!opens(v)) return 'damaged';
    here.add(v.revision);
    ancestors(e, (a) => !superseded.has(a.revision) && superseded.add(a.revision));
    return 'head';
  });
  const missing = [...deks.revisions.values()].filter((e) => e.superseded === 0 && !here.has(e.revision));
  const held = new Set();
  for (const head of missing) {
    const seen = new Set();
    if (head.tightens) held.add(head.item);
    ancestors(head, (a) => {
      if (here.has(a.revision) || seen.has(a.revision)) return false;
      seen.add(a.revision);
      if (a.tightens) held.add(a.item);
      return true;
    });
  }
  return {
    missing: missing.map((e) => e.revision),
    states: lines.map((v, i) => {
      if (out[i] !== 'head' && out[i] !== 'forged' && out[i] !== 'damaged') return out[i];
      if (superseded.has(v.revision) || (out[i] !== 'head' && here.has(v.revision))) return 'superseded';
      if (out[i] !== 'head') return out[i];
      if (held.has(v.item)) return 'held';
      return deks.revisions.get(v.revision).superseded === 0 ? 'head' : 'outdated';
    }),
  };
}

const maxText = 1024;
const maxList = 1024;
const maxBlob = 49152;

// parseMeta reads metadata that was opened and unpadded.
export function parseMeta(data) {
  const s = new Scanner(data);
  const m = {};
  const texts = (what) => ascending(s.list(maxList, () => s.text(maxText)), what);
  s.literal('{"name":');
  m.name = s.text(maxText);
  s.literal(',"comment":');
  m.comment = s.text(maxText);
  s.literal(',"created":');
  m.created = s.int();
  s.literal(',"public":');
  m.public = s.binary(1, maxBlob);
  s.literal(',"certificate":');
  m.certificate = s.binary(0, maxBlob);
  s.literal(',"hosts":');
  m.hosts = texts('hosts');
  s.literal(',"policy":');
  m.policy = s.list(maxList, () => readPolicy(s));
  ascending(m.policy.map((p) => p.name), 'policy entries');
  s.literal(',"tags":');
  m.tags = texts('tags');
  s.literal('}');
  s.end();
  return m;
}

function readPolicy(s) {
  s.literal('{"name":');
  const name = s.token(maxText);
  s.literal(',"data":');
  const data = s.binary(0, maxBlob);
  s.literal('}');
  if (name === 'approve@vigil' && !['never', 'forwarded', 'first', 'always'].includes(Buffer.from(data).toString('latin1'))) throw new NotCanonical(`${name} has another value`);
  if ((name === 'confirm' || name === 'allow-sha1') && data.length > 0) throw new NotCanonical(`${name} has data`);
  if (name === 'restrict-destination-v00@openssh.com' && data.length === 0) throw new NotCanonical('a destination constraint without data');
  return { name, data };
}
