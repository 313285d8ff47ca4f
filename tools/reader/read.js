// Reads a vault: node read.js --vault FILE --keyring FOLDER --passphrase-file FILE
//   (--device-key FILE | --share-file FILE) [--identity ID] [--private NAME | --all-private]
//
// Prints what is in it as JSON: public keys, metadata, states, and with
// --all-private the private keys in OpenSSH's format; with --private only the one
// of that name, as a file has it. Everything is verified first. Exit status 1 and a line on standard error say what was refused.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { openVault } from './lib/open.js';
import { opensshKey } from './lib/openssh.js';
import { Refused } from './lib/stage.js';

const bytes = (name) => new Uint8Array(readFileSync(name));

function options() {
  const option = { type: 'string' };
  const names = ['vault', 'keyring', 'passphrase-file', 'device-key', 'share-file', 'identity', 'private'];
  const { values } = parseArgs({ options: { ...Object.fromEntries(names.map((n) => [n, option])), 'all-private': { type: 'boolean' } } });
  for (const n of ['vault', 'keyring', 'passphrase-file']) if (!values[n]) throw new Error(`--${n} is missing`);
  if (!values['device-key'] === !values['share-file']) throw new Error('give --device-key or --share-file');
  return values;
}

const privateKey = (i) => opensshKey(i.meta.public, i.secret(), i.meta.comment);

function report(v, all) {
  const items = v.items.map((i) => ({
    item: i.item,
    revision: i.revision,
    state: i.state,
    ...(i.meta && {
      name: i.meta.name,
      comment: i.meta.comment,
      created: i.meta.created,
      public: Buffer.from(i.meta.public).toString('base64'),
      hosts: i.meta.hosts,
      tags: i.meta.tags,
      policy: i.meta.policy.map((p) => p.name),
    }),
    ...(i.fault && { fault: i.fault.message }),
    ...(i.state === 'head' && { secretBytes: i.secret().length }),
    ...(i.state === 'head' && all && { private: privateKey(i) }),
  }));
  return {
    vault: v.file.vault,
    records: v.members.chain.hashes.length,
    identity: v.own.identity,
    keks: [...v.own.keks.keys()],
    epoch: v.deks.epoch,
    missing: v.missing,
    damagedLines: v.file.damaged,
    items,
  };
}

function run() {
  const o = options();
  const v = openVault(
    { vault: bytes(o.vault), members: bytes(join(o.keyring, 'members')), deks: bytes(join(o.keyring, 'deks')) },
    {
      passphrase: readFileSync(o['passphrase-file'], 'utf8').replace(/\r?\n$/, ''),
      identity: o.identity,
      deviceKey: o['device-key'] && bytes(o['device-key']),
      share: o['share-file'] && bytes(o['share-file']),
    },
  );
  if (!o.private) return console.log(JSON.stringify(report(v, o['all-private']), null, 2));
  const found = v.items.find((i) => i.state === 'head' && i.meta.name === o.private);
  if (!found) throw new Error(`no key is called ${o.private}`);
  process.stdout.write(privateKey(found));
}

try {
  run();
} catch (e) {
  console.error(`read: ${e.message}`);
  if (!(e instanceof Refused)) console.error(e.stack);
  process.exitCode = 1;
}
