// The vault file: docs/vault-format.md, "The vault file".

import { ascending, readHeader, readParents, Scanner, splitLines } from './canon.js';
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
  s.literal(',"epoch":');
  v.epoch = s.int();
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
      lines.set(text, { line: number, ...readRevision(bytes) });
    } catch (e) {
      if (!(e instanceof NotCanonical)) throw e;
      damaged.push({ line: number, what: e.message });
      if (damaged.length > maxDamaged) throw new Refused('vault', 'syntax', 'too many damaged lines', number);
    }
  }
  return { vault, lines: [...lines.values()], damaged };
}

// states gives each line its state. opens says whether a line that has a DEK opens.
export function states(file, deks, opens) {
  const superseded = new Set();
  const mark = (parents) => {
    for (const p of parents) {
      if (superseded.has(p)) continue;
      superseded.add(p);
      mark(deks.revisions.get(p)?.parents ?? []);
    }
  };
  const out = file.lines.map((v) => {
    if (deks.tombstones.has(v.item)) return 'deleted';
    const e = deks.revisions.get(v.revision);
    if (e?.item !== v.item) return 'waiting for its key';
    if (!opens(v)) return 'damaged';
    mark(e.parents);
    return 'head';
  });
  return file.lines.map((v, i) => (out[i] !== 'deleted' && superseded.has(v.revision) ? 'superseded' : out[i]));
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
  if (name === 'confirm' && data.length > 0) throw new NotCanonical('confirm has data');
  if (name === 'restrict-destination-v00@openssh.com' && data.length === 0) throw new NotCanonical('a destination constraint without data');
  return { name, data };
}
