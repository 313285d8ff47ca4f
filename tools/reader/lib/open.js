// Opening a vault: docs/vault-format.md, "Keys" and "Reading a vault".

import { ed25519 } from '@noble/curves/ed25519';
import { argon2id } from '@noble/hashes/argon2';
import { sha256 } from '@noble/hashes/sha2';

import { bytesOf, decodeBase64url } from './canon.js';
import { checkDeksPin, checkFollows, parseDeks, verifyDeks } from './deks.js';
import { openBase, publicKey } from './hpke.js';
import { checkMembersPin, parseMembers } from './members.js';
import { concat, context, deriveKey, equal, open, SealError, uint64, unpadMeta, unpadSecret } from './seal.js';
import { NotCanonical, Refused } from './stage.js';
import { parseMeta, parseVault, states } from './vault.js';

// refuseAt gives what f throws an object and a line.
function refuseAt(object, line, f) {
  try {
    return f();
  } catch (e) {
    if (e instanceof SealError) throw new Refused(object, e.message, 'it does not open', line);
    if (e instanceof NotCanonical) throw new Refused(object, 'syntax', e.message, line);
    throw e;
  }
}

// derivePassphrase is Argon2id over the passphrase, within the format's bounds.
export function derivePassphrase(passphrase, kdf) {
  const normal = bytesOf(passphrase.normalize('NFC'));
  const size = bytesOf(passphrase).length;
  if (size < 1 || size > 1024 || normal.length < 1 || normal.length > 1024) throw new Error('the passphrase has not 1 to 1,024 bytes');
  const { name, memory, time, lanes, salt } = kdf;
  if (name !== 'argon2id' || memory < 65536 || memory > 4194304 || time < 3 || time > 16 || lanes < 1 || lanes > 16) {
    throw new Refused('kdf', 'bounds', 'its parameters are outside of what the format allows');
  }
  return argon2id(normal, salt, { m: memory, t: time, p: lanes, dkLen: 32, version: 0x13, maxmem: 2 ** 32 - 1 });
}

// openLocalShare has a device key unwrap a share: "The local master".
export function openLocalShare(deviceKey, wrapped, vault, identity, purpose) {
  const cx = context('vigil v1 local share', decodeBase64url(vault), decodeBase64url(identity), purpose);
  return refuseAt('share', 0, () => open(deviceKey, cx, wrapped));
}

// openIdentity opens the private halves of an identity and every KEK sealed to it.
function openIdentity(members, vault, factors) {
  const { chain, unlocks, seals } = members;
  const id = factors.identity ?? (unlocks.size === 1 ? [...unlocks.keys()][0] : undefined);
  const who = chain.identities.get(id);
  const block = unlocks.get(id);
  if (!who?.live || !block) throw new Refused('identity', 'unknown', 'name a live identity that has an unlock block');
  const vaultBytes = decodeBase64url(vault);
  const idBytes = decodeBase64url(id);
  const { kdf } = block;
  const share = factors.share ?? openLocalShare(factors.deviceKey, block.share, vault, id, factors.purpose ?? 'unlock');
  const argon2 = (factors.derive ?? derivePassphrase)(factors.passphrase, kdf);
  const info = context('vigil v1 unlock', vaultBytes, idBytes, kdf.name, uint64(kdf.memory), uint64(kdf.time), uint64(kdf.lanes), kdf.salt);
  const unlock = deriveKey(concat(share, argon2), concat(vaultBytes, idBytes), info, 32);
  const cx = context('vigil v1 halves', vaultBytes, idBytes, sha256(who.hpke), who.ed25519);
  const halves = refuseAt('halves', 0, () => open(unlock, cx, block.halves));
  const hpkeSeed = halves.subarray(0, 32);
  if (!equal(publicKey(hpkeSeed), who.hpke) || !equal(ed25519.getPublicKey(halves.subarray(32)), who.ed25519)) {
    throw new Refused('halves', 'mismatch', 'they are not those of the public keys');
  }
  const keks = new Map();
  for (const [version, k] of chain.keks) {
    const seal = seals.get(`${version} ${id}`);
    if (!k.live || !seal) continue;
    try {
      keks.set(version, openBase(hpkeSeed, context('vigil v1 kek', vaultBytes, idBytes, uint64(version)), seal.sealed));
    } catch {
      continue; // one that it lacks
    }
  }
  return { identity: id, argon2, unlock, halves, keks };
}

// openVault reads a whole vault. objects are the bytes of vault, members and
// deks. factors: passphrase; share, or deviceKey; and what the device knows:
// vault, identity, membersPin, deksPin, and lastDeks, the bytes of the deks object
// that it accepted last. It returns every line with its state;
// those that open have meta, unless fault says what is wrong with it, and secret(),
// which opens the private key.
export function openVault(objects, factors) {
  const file = parseVault(objects.vault, factors.vault);
  const members = parseMembers(objects.members, file.vault);
  checkMembersPin(members.chain, factors.membersPin);
  const deks = parseDeks(objects.deks, file.vault);
  checkDeksPin(deks, factors.deksPin);
  const own = openIdentity(members, file.vault, factors);
  verifyDeks(deks, members.chain, own.keks);
  checkDeksPin(deks, factors.deksPin, true);
  if (factors.lastDeks) checkFollows(deks, parseDeks(factors.lastDeks, file.vault));
  const items = file.lines.map((v) => new Line(v, file.vault, deks, own.keks));
  const seen = states(items, deks, (v) => v.opens());
  items.forEach((v, i) => (v.state = seen.states[i]));
  for (const v of items) if (v.state === 'forged') v.fault = new Refused('vault', 'line', 'it is not the line that deks names', v.line);
  return { file, members, deks, own, items, missing: seen.missing };
}

// Line is a line of the vault file, opened when it is asked.
class Line {
  constructor(line, vault, deks, keks) {
    Object.assign(this, line);
    this.sealedMeta = line.meta;
    this.sealedSecret = line.secret;
    this.meta = undefined;
    this.secret = () => this.unseal('secret', this.sealedSecret, unpadSecret);
    this.vault = vault;
    this.entry = deks.revisions.get(line.revision);
    this.version = deks.kek;
    this.kek = keks.get(deks.kek);
  }

  opens() {
    try {
      const e = this.entry;
      const cx = context('vigil v1 dek', decodeBase64url(this.vault), decodeBase64url(e.item), decodeBase64url(e.revision), uint64(this.version));
      this.dek = refuseAt('dek', this.line, () => open(this.kek, cx, e.dek));
      this.metaText = this.unseal('meta', this.sealedMeta, unpadMeta);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      this.fault = e;
      return false;
    }
    // What the metadata says makes the key unusable at most.
    try {
      this.meta = refuseAt('meta', this.line, () => parseMeta(this.metaText));
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      this.fault = e;
    }
    return true;
  }

  unseal(object, sealed, unpad) {
    const parents = concat(...this.parents.map(decodeBase64url));
    const cx = context(`vigil v1 ${object}`, decodeBase64url(this.vault), decodeBase64url(this.item), decodeBase64url(this.revision), parents);
    return refuseAt(object, this.line, () => unpad(open(this.dek, cx, sealed)));
  }
}
