// Runs the test vectors of docs/vault-format.md: node vectors.js FOLDER.
// Prints a line for each one that goes wrong, and how many passed and failed.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { decodeBase64url, encodeBase64url } from './lib/canon.js';
import { derivePassphrase, openVault } from './lib/open.js';
import { Refused } from './lib/stage.js';

const folder = process.argv[2];
const read = (...name) => new Uint8Array(readFileSync(join(folder, ...name)));
const good = { vault: read('vault.jsonl'), members: read('members.jsonl'), deks: read('deks.jsonl') };
const secrets = JSON.parse(readFileSync(join(folder, 'secrets.json'), 'utf8'));
let passed = 0;
let failed = 0;

function expect(name, what, want, got) {
  if (want === got) {
    passed++;
    return;
  }
  failed++;
  console.log(`${name}: ${what} is ${got}, want ${want}`);
}

// Argon2id takes a second: each passphrase and set of parameters once.
const derived = new Map();
function derive(passphrase, kdf) {
  const name = JSON.stringify([passphrase, kdf.memory, kdf.time, kdf.lanes, encodeBase64url(kdf.salt)]);
  if (!derived.has(name)) derived.set(name, derivePassphrase(passphrase, kdf));
  return derived.get(name);
}

// readAll opens a vault as for the vectors: the first damaged line refuses it.
function readAll(objects, r) {
  const v = openVault(objects, { ...r, share: decodeBase64url(r.share), derive });
  const [damaged] = v.file.damaged;
  if (damaged) throw new Refused('vault', 'syntax', damaged.what, damaged.line);
  for (const item of v.items) if (item.fault && item.state !== 'superseded') throw item.fault;
  v.out = v.items
    .filter((i) => i.state === 'head')
    .map((i) => ({ item: i.item, revision: i.revision, dek: encodeBase64url(i.dek), meta: new TextDecoder().decode(i.metaText), secret: encodeBase64url(i.secret()) }));
  return v;
}

for (const r of secrets.readers) {
  const name = `reader ${r.identity}`;
  const v = readAll(good, r);
  expect(name, 'argon2', r.argon2, encodeBase64url(v.own.argon2));
  expect(name, 'unlock', r.unlock, encodeBase64url(v.own.unlock));
  expect(name, 'halves', r.halves, encodeBase64url(v.own.halves));
  expect(name, 'keks', JSON.stringify(secrets.keks), JSON.stringify(Object.fromEntries([...v.own.keks].map(([n, k]) => [n, encodeBase64url(k)]))));
  expect(name, 'items', JSON.stringify(secrets.items), JSON.stringify(v.out));
}

const faults = readdirSync(join(folder, 'faults')).sort();
for (const name of faults) {
  const bytes = readFileSync(join(folder, 'faults', name));
  const end = bytes.indexOf('\n\n');
  const [, object, stage] = /^object: (\S+)\nexpect: (.*)$/.exec(bytes.subarray(0, end).toString());
  const data = new Uint8Array(bytes.subarray(end + 2));
  const objects = { ...good, [object]: data };
  const reader = { ...secrets.readers[0], lastDeks: good.deks };
  if (object === 'deks+vault') {
    const at = bytes.indexOf('{"vigil":"vault"') - end - 2;
    Object.assign(objects, { deks: data.subarray(0, at), vault: data.subarray(at) });
    reader.lastDeks = undefined; // what only a writer could make would be a fork else
  }
  let got = '';
  try {
    readAll(objects, reader);
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    got = `${e.object} ${e.stage}`;
  }
  expect(name, 'stage', stage, got);
}
expect('faults', 'number of vectors', true, faults.length >= 70);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
