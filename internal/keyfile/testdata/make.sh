#!/bin/sh
# Makes the private key files in testdata/keys, with the tools that users make
# theirs with. They are checked in, so the tests need none of these tools; run
# it again only to make all of them anew:
#
#	SSH_KEYGEN_104=…/ssh-keygen SSH_KEYGEN_106=…/ssh-keygen testdata/make.sh
#
# Tools used for the files checked in: ssh-keygen 9.2p1, 10.4p1 and 10.6p1 (they
# name ML-DSA-44 with Ed25519 differently), OpenSSL 3.0.19, puttygen 0.78.
#
# NAME.pub is a key's public half, NAME.FORMAT[.CIPHER] a private key file.
# These keys guard nothing. Every encrypted file has the passphrase below.
set -eu
cd "$(dirname "$0")"
rm -rf keys && mkdir keys && cd keys
umask 077
P='correct horse'
printf '%s' "$P" >pass
: >empty
G104=${SSH_KEYGEN_104:?an ssh-keygen of OpenSSH 10.4 or 10.5}
G106=${SSH_KEYGEN_106:?an ssh-keygen of OpenSSH 10.6 or later}

# as SRC DST OPTIONS…: a copy of key file SRC, rewritten by ssh-keygen -p.
as() {
	src=$1 dst=$2
	shift 2
	cp "$src" "$dst"
	ssh-keygen -q -p -P '' -f "$dst" "$@" >/dev/null
	rm -f "$dst.pub"
}

for k in 'ed25519 -t ed25519' 'p256 -t ecdsa -b 256' 'p384 -t ecdsa -b 384' 'p521 -t ecdsa -b 521' \
	'rsa2048 -t rsa -b 2048' 'rsa8192 -t rsa -b 8192' 'rsa1024 -t rsa -b 1024' 'dsa -t dsa'; do
	set -- $k
	name=$1
	shift
	ssh-keygen -q "$@" -N '' -C "$name@vigil" -f "$name"
	mv "$name" "$name.openssh"
	as "$name.openssh" "$name.openssh.aes256-ctr" -N "$P"
done
"$G104" -q -t mldsa44-ed25519 -N '' -C mldsa@vigil -f mldsa104
"$G106" -q -t mldsa44-ed25519 -N '' -C mldsa@vigil -f mldsa106
cp mldsa104 mldsa104.openssh.aes256-ctr && "$G104" -q -p -P '' -N "$P" -f mldsa104.openssh.aes256-ctr >/dev/null
cp mldsa106 mldsa106.openssh.aes256-ctr && "$G106" -q -p -P '' -N "$P" -f mldsa106.openssh.aes256-ctr >/dev/null
mv mldsa104 mldsa104.openssh
mv mldsa106 mldsa106.openssh

# OpenSSH's format under each cipher ssh-keygen -Z takes. Few rounds: the tests
# open these often.
for c in aes128-cbc aes192-cbc aes256-cbc aes128-ctr aes192-ctr 3des-cbc \
	aes128-gcm@openssh.com aes256-gcm@openssh.com chacha20-poly1305@openssh.com; do
	as ed25519.openssh "ed25519.openssh.${c%@*}" -N "$P" -Z "$c" -a 2
	as rsa2048.openssh "rsa2048.openssh.${c%@*}" -N "$P" -Z "$c" -a 2
done
as p256.openssh p256.openssh.rounds -N "$P" -a 40

# PEM as ssh-keygen writes it.
for k in rsa2048 rsa1024 p256 p384 p521 dsa; do
	as $k.openssh $k.pem -N '' -m PEM
	as $k.openssh $k.pem.aes128 -N "$P" -m PEM
	as $k.openssh $k.pkcs8 -N '' -m PKCS8
	as $k.openssh $k.pkcs8.keygen -N "$P" -m PKCS8
done

# PEM as OpenSSL writes it: traditional encryption, PKCS#8 under each scheme.
for c in aes192 aes256 des3; do
	openssl rsa -in rsa2048.pem -traditional -$c -passout pass:"$P" -out rsa2048.pem.$c 2>/dev/null
	openssl ec -in p384.pem -$c -passout pass:"$P" -out p384.pem.$c 2>/dev/null
done
openssl ec -in p256.pem -no_public -out p256.pem-nopublic 2>/dev/null
openssl ec -in p256.pem -conv_form compressed -out p256.pem-compressed 2>/dev/null
openssl ec -in p256.pem -param_enc explicit -out p256.pem-explicit 2>/dev/null
{ openssl ecparam -name prime256v1 && cat p256.pem; } >p256.pem-parameters
openssl ecparam -name secp256k1 -genkey -noout -out secp256k1.pem
openssl pkcs8 -topk8 -nocrypt -in secp256k1.pem -out secp256k1.pkcs8
e() { # e NAME PEM-KEY OPTIONS…
	dst=$1 src=$2
	shift 2
	openssl pkcs8 -topk8 -in "$src" -passout pass:"$P" -out "$dst" "$@"
}
openssl genpkey -algorithm ed25519 -out edossl.pkcs8
{ # the SSH blob: two strings
	printf '\0\0\0\013ssh-ed25519\0\0\0\040'
	openssl pkey -in edossl.pkcs8 -pubout -outform DER | tail -c 32
} | base64 -w0 | sed 's/^/ssh-ed25519 /; s/$/\n/' >edossl.pub
for k in rsa2048.pem p521.pem edossl.pkcs8; do
	n=${k%.*}
	for c in aes-128-cbc aes-192-cbc aes-256-cbc des3; do
		e $n.pkcs8.$c $k -v2 $c
	done
	for h in SHA1 SHA224 SHA384 SHA512; do
		e $n.pkcs8.aes-256-cbc-$h $k -v2 aes-256-cbc -v2prf hmacWith$h
	done
	e $n.pkcs8.scrypt $k -scrypt
	e $n.pkcs8.pbes1 $k -v1 PBE-SHA1-3DES
done
openssl genpkey -algorithm ed448 -out ed448.pkcs8
openssl genpkey -algorithm x25519 -out x25519.pkcs8
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out rsapss.pkcs8 2>/dev/null
openssl pkey -in rsa2048.pem -pubout -out rsa2048.spki
openssl rsa -in rsa2048.pem -RSAPublicKey_out -out rsa2048.pkcs1-public 2>/dev/null

# PuTTY. An Ed25519 seed that ends in zero bytes is written shorter.
python3 - >short.openssh <<'PY'
import base64, subprocess, struct, sys
seed = bytes(range(1, 31)) + b"\0\0"
der = bytes.fromhex("302e020100300506032b657004220420") + seed
pub = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=der, capture_output=True, check=True).stdout[-32:]
s = lambda b: struct.pack(">I", len(b)) + b
blob = s(b"ssh-ed25519") + s(pub)
private = b"\0\1\2\3" * 2 + blob + s(seed + pub) + s(b"short@vigil")
private += bytes(range(1, 9))[: -len(private) % 8]
text = base64.b64encode(b"openssh-key-v1\0" + s(b"none") * 2 + s(b"") + struct.pack(">I", 1) + s(blob) + s(private)).decode()
print("-----BEGIN OPENSSH PRIVATE KEY-----")
print("\n".join(text[i:i + 70] for i in range(0, len(text), 70)))
print("-----END OPENSSH PRIVATE KEY-----")
PY
ssh-keygen -y -f short.openssh >short.pub
for k in ed25519 short p256 p384 p521 rsa2048 rsa8192 dsa; do
	puttygen $k.openssh -O private --ppk-param version=2 --new-passphrase empty -o $k.ppk2
	puttygen $k.openssh -O private --ppk-param version=2 --new-passphrase pass -o $k.ppk2.aes
	puttygen $k.openssh -O private --ppk-param version=3 --new-passphrase empty -o $k.ppk3
	puttygen $k.openssh -O private --ppk-param version=3 --new-passphrase pass -o $k.ppk3.argon2id
done
puttygen ed25519.openssh -O private --ppk-param kdf=argon2i,memory=1024,passes=3,parallelism=2 --new-passphrase pass -o ed25519.ppk3.argon2i
puttygen ed25519.openssh -O private --ppk-param kdf=argon2d --new-passphrase pass -o ed25519.ppk3.argon2d
puttygen -q -t ed448 --new-passphrase empty -o ed448.ppk3
sed 's/$/\r/' ed25519.ppk3 >ed25519.ppk3-crlf
sed 's/$/\r/' ed25519.openssh >ed25519.openssh-crlf
puttygen rsa2048.openssh -O private-sshcom -o rsa2048.sshcom
puttygen rsa2048.openssh -O public -o rsa2048.ssh2-public
printf 'SSH PRIVATE KEY FILE FORMAT 1.1\n\0' >ssh1
rm -f pass empty
