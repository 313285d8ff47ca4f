package keyfile

import (
	"bytes"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
)

// corpus makes all specimens.
func corpus(t *testing.T) []specimen {
	t.Helper()
	all := numberSpecimens(t)
	all = append(all, sizeSpecimens(t)...)
	all = append(all, scalarSpecimens(t)...)
	all = append(all, labelSpecimens(t)...)
	return append(all, cipherSpecimens(t)...)
}

// numberSpecimens are RSA keys whose numbers are written or computed as not every program
// does, in each format that has numbers.
func numberSpecimens(t *testing.T) (all []specimen) {
	key := libraryRSA(t, "rsa2048.pem")
	one := big.NewInt(1)
	p, q := key.Primes[0], key.Primes[1]
	phi := mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	zero, sum := []byte{0}, func(a, b *big.Int) []byte { return twos(new(big.Int).Add(a, b)) }
	// who reads it, in each format: ssh-keygen, puttygen, Vigil
	type readers struct{ keygen, putty, vigil bool }
	everyone, nobody := readers{yes, yes, yes}, readers{}
	inPPK := readers{no, yes, yes}    // ssh-keygen doesn't know the format
	keygen := readers{yes, no, no}    // ssh-keygen -y doesn't look at the private half
	butPutty := readers{yes, no, yes} // PuTTY takes the shortest form alone
	onlyVigil := readers{no, no, yes} // in .ppk, where OpenSSH's rule isn't PuTTY's
	const zeros, unfit = "a needless leading zero in a .ppk", "RSA numbers that are missing or don't belong together"
	const noInverse = "a .ppk whose inverse of q is zero"
	for _, c := range []struct {
		name                string
		kind                string
		with                func(*rsaParts)
		openssh, pkcs1, ppk readers
	}{
		{"nothing strange", "", func(*rsaParts) {}, everyone, everyone, inPPK},
		{"a leading zero before n", zeros, func(k *rsaParts) { k.n = padded(k.n) }, butPutty, everyone, onlyVigil},
		{"a leading zero before e", zeros, func(k *rsaParts) { k.e = padded(k.e) }, butPutty, everyone, onlyVigil},
		{"a leading zero before d", zeros, func(k *rsaParts) { k.d = padded(k.d) }, butPutty, everyone, onlyVigil},
		{"a leading zero before p", zeros, func(k *rsaParts) { k.p = padded(k.p) }, butPutty, everyone, onlyVigil},
		{"a leading zero before q", zeros, func(k *rsaParts) { k.q = padded(k.q) }, butPutty, everyone, onlyVigil},
		{"a leading zero before qInv", zeros, func(k *rsaParts) { k.qinv = padded(k.qinv) }, butPutty, everyone, onlyVigil},
		{"a negative n", "", func(k *rsaParts) { k.n = bare(k.n) }, nobody, everyone, nobody},
		{"a negative p", "", func(k *rsaParts) { k.p = bare(k.p) }, nobody, everyone, nobody},
		{"a negative q", "", func(k *rsaParts) { k.q = bare(k.q) }, nobody, everyone, nobody},
		{"no qInv", noInverse, func(k *rsaParts) { k.qinv = zero }, everyone, everyone, onlyVigil},
		{"another qInv", "", func(k *rsaParts) { k.qinv = sum(key.Precomputed.Qinv, one) }, everyone, everyone, inPPK},
		{"p and q in the other order", "", func(k *rsaParts) { k.p, k.q = k.q, k.p }, everyone, everyone, inPPK},
		{"no CRT values", noInverse, func(k *rsaParts) { k.dp, k.dq, k.qinv = zero, zero, zero }, everyone, everyone, onlyVigil},
		{"d enlarged by φ(n)", "", func(k *rsaParts) { k.d = sum(key.D, phi) }, everyone, everyone, inPPK},
		{"d enlarged by 1000 φ(n)", "", func(k *rsaParts) { k.d = sum(key.D, mul(phi, big.NewInt(1000))) }, everyone, everyone, inPPK},
		{"another d", unfit, func(k *rsaParts) { k.d = sum(key.D, big.NewInt(2)) }, keygen, keygen, nobody},
		{"no d", unfit, func(k *rsaParts) { k.d = zero }, keygen, keygen, nobody},
		{"no primes", unfit, func(k *rsaParts) { k.p, k.q, k.dp, k.dq, k.qinv = zero, zero, zero, zero, zero }, keygen, keygen, nobody},
		{"another p", unfit, func(k *rsaParts) { k.p = sum(p, big.NewInt(2)) }, keygen, keygen, nobody},
		{"an even e", unfit, func(k *rsaParts) { k.e = []byte{1, 0, 0} }, keygen, keygen, nobody},
	} {
		k := numbersOf(key)
		c.with(k)
		all = append(
			all,
			specimen{c.name + ", OpenSSH", c.kind, c.openssh.keygen, c.openssh.putty, c.openssh.vigil, k.openssh(), k.identity()},
			specimen{c.name + ", PKCS#1", c.kind, c.pkcs1.keygen, c.pkcs1.putty, c.pkcs1.vigil, k.pkcs1(), nil},
			specimen{c.name + ", .ppk", c.kind, c.ppk.keygen, c.ppk.putty, c.ppk.vigil, k.ppk(), nil},
		)
	}
	k := numbersOf(key)
	outer := *k
	outer.n = padded(outer.n)
	return append(
		all,
		specimen{"a leading zero in the public half alone, OpenSSH", "", yes, yes, yes, inOpenSSH(outer.public(), k.identity()), nil},
		specimen{"PKCS#1 that ends after d", "", no, no, no, inPEM(pemPKCS1, derIntegers(nil, k.n, k.e, k.d)), nil},
		specimen{"PKCS#1 that ends after q", "", no, no, no, inPEM(pemPKCS1, derIntegers(nil, k.n, k.e, k.d, k.p, k.q)), nil},
	)
}

// sizeSpecimens are RSA keys of sizes that some programs take. Above 8192 bits they are
// odd numbers instead of primes, which would take minutes to find.
func sizeSpecimens(t *testing.T) (all []specimen) {
	add := func(name, kind string, p, q *big.Int, e int64, keygen, putty, vigil bool) {
		one := big.NewInt(1)
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		d := new(big.Int).ModInverse(big.NewInt(e), mul(p1, q1))
		if d == nil {
			t.Fatalf("%s: e has no inverse", name)
		}
		k := rsaParts{
			n: twos(mul(p, q)), e: twos(big.NewInt(e)), d: twos(d), p: twos(p), q: twos(q),
			dp: twos(new(big.Int).Mod(d, p1)), dq: twos(new(big.Int).Mod(d, q1)), qinv: twos(new(big.Int).ModInverse(q, p)),
		}
		all = append(
			all,
			specimen{name + ", OpenSSH", kind, keygen, putty, vigil, k.openssh(), k.identity()},
			specimen{name + ", PKCS#1", kind, keygen, putty, vigil, k.pkcs1(), nil},
		)
	}
	p, q := prime(t, 1024), prime(t, 1024)
	add("RSA of 1024 bits", "RSA below 2048 bits", prime(t, 512), prime(t, 512), 65537, yes, yes, no)
	add("RSA of 2047 bits", "RSA below 2048 bits", of2047(t, p), p, 65537, yes, yes, no)
	add("an exponent of 3", "", prime3(t), prime3(t), 3, yes, yes, yes)
	add("an exponent just below 2^31", "", p, q, 1<<31-1, yes, yes, yes)
	add("an exponent above 2^31", "RSA with a public exponent of 2^31 or more", p, q, 1<<31+11, yes, yes, no)
	add("an exponent of 41 bits", "RSA with a public exponent of 2^31 or more", p, q, 1<<40+15, yes, yes, no)
	big1, big2 := oddNumbers(8192)
	add("RSA of 16384 bits", "RSA above 8192 bits", big1, big2, 65537, yes, yes, no)
	return all
}

// of2047 returns a prime with which p makes a modulus of 2047 bits.
func of2047(t *testing.T, p *big.Int) *big.Int {
	for {
		if q := prime(t, 1023); mul(p, q).BitLen() == 2047 {
			return q
		}
	}
}

// prime3 returns a prime of which 3 can be the exponent.
func prime3(t *testing.T) *big.Int {
	for {
		if p := prime(t, 1024); new(big.Int).Mod(p, big.NewInt(3)).Int64() == 2 {
			return p
		}
	}
}

// oddNumbers returns two numbers of that many bits that stand for primes.
func oddNumbers(bits uint) (p, q *big.Int) {
	p = new(big.Int).Lsh(big.NewInt(3), bits-2)
	return new(big.Int).Add(p, big.NewInt(3)), new(big.Int).Add(p, big.NewInt(5))
}

// scalarSpecimens are ECDSA keys whose scalar is written as not every program does.
func scalarSpecimens(t *testing.T) (all []specimen) {
	for _, curve := range []struct {
		typ, name string
		library   ecdh.Curve
		size      int
	}{
		{"ecdsa-sha2-nistp256", "nistp256", ecdh.P256(), 32},
		{"ecdsa-sha2-nistp521", "nistp521", ecdh.P521(), 66},
	} {
		short := make([]byte, curve.size) // a scalar with leading zeros at its full width
		copy(short[2:], bytes.Repeat([]byte{0x41}, curve.size-2))
		key, err := curve.library.NewPrivateKey(short)
		if err != nil {
			t.Fatal(err)
		}
		point := key.PublicKey().Bytes()
		compressed := append([]byte{2 + point[len(point)-1]&1}, point[1:1+curve.size]...)
		const unchecked = "ECDSA with a scalar that is missing or negative, or a compressed point"
		add := func(name string, point, scalar []byte, keygen, putty, vigil, ppk, ppkVigil bool) {
			public := strs(curve.typ, curve.name, string(point))
			identity := append(bytes.Clone(public), strs(string(scalar))...)
			all = append(
				all,
				specimen{name + ", " + curve.name + ", OpenSSH", unchecked, keygen, putty, vigil, inOpenSSH(public, identity), identity},
				specimen{name + ", " + curve.name + ", .ppk", unchecked, no, ppk, ppkVigil, inPPK(curve.typ, public, strs(string(scalar))), nil},
			)
		}
		add("a scalar in its shortest form", point, short[2:], yes, yes, yes, yes, yes)
		add("a scalar at its full width", point, short, yes, no, yes, yes, yes)
		add("a scalar with more zeros", point, padded(short), yes, no, yes, yes, yes)
		add("a negative scalar", point, append([]byte{0x81}, short[3:]...), no, no, no, yes, no)
		add("no scalar", point, nil, no, yes, no, yes, no)
		add("a compressed point", compressed, short[2:], no, yes, no, yes, no)
	}
	return all
}

// labelSpecimens are PKCS#1, SEC 1 and PKCS#8 under each other's labels, also with RFC
// 1421's headers.
func labelSpecimens(t *testing.T) (all []specimen) {
	labels := []string{pemPKCS1, pemSEC1, pemPKCS8, pemEncrypted}
	for _, c := range []struct {
		what, file string
		keygen     [4]bool // under the labels
		headers    [4]bool // and under headers
		putty      [4]bool
	}{
		{"PKCS#1", "rsa2048.pem", [4]bool{yes, no, no, no}, [4]bool{yes, no, no, no}, [4]bool{yes, no, no, no}},
		{"SEC 1", "p256.pem", [4]bool{no, yes, no, no}, [4]bool{no, yes, no, no}, [4]bool{no, yes, no, no}},
		{"PKCS#8 with RSA", "rsa2048.pkcs8", [4]bool{yes, no, yes, yes}, [4]bool{yes, no, yes, yes}, [4]bool{}},
		{"PKCS#8 with EC", "p384.pkcs8", [4]bool{no, yes, yes, yes}, [4]bool{no, yes, yes, yes}, [4]bool{}},
		{"encrypted PKCS#8", "rsa2048.pkcs8.aes-256-cbc", [4]bool{no, no, no, yes}, [4]bool{}, [4]bool{}},
	} {
		block, _ := pem.Decode(readFixture(t, c.file).data)
		for i, label := range labels {
			kind := "PKCS#1, SEC 1 or PKCS#8 under a label of another format"
			all = append(all, specimen{c.what + " under " + label, kind, c.keygen[i], c.putty[i], yes, inPEM(label, block.Bytes), nil})
			if c.what == "encrypted PKCS#8" {
				continue
			}
			//lint:ignore SA1019 existing files use it
			sealed, err := x509.EncryptPEMBlock(zeros{}, label, block.Bytes, []byte(fixturePassphrase), x509.PEMCipherAES128)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, specimen{c.what + " with headers under " + label, kind, c.headers[i], c.putty[i], yes, pem.EncodeToMemory(sealed), nil})
		}
	}
	for _, file := range []string{"rsa2048.pem", "p256.pem", "rsa2048.pkcs8", "edossl.pkcs8"} {
		block, _ := pem.Decode(readFixture(t, file).data)
		all = append(
			all,
			specimen{file + " in DER", "", no, no, no, block.Bytes, nil},
			specimen{file + " under " + pemOpenSSH, "", no, no, no, inPEM(pemOpenSSH, block.Bytes), nil},
			specimen{file + " under ANY PRIVATE KEY", "", no, no, no, inPEM("ANY PRIVATE KEY", block.Bytes), nil},
		)
	}
	return all
}

// cipherSpecimens are encrypted in ways of which not every program knows each.
func cipherSpecimens(t *testing.T) (all []specimen) {
	const elsewhere = "PEM under a cipher, hash or scheme that few programs write"
	for _, c := range []struct {
		name, kind           string
		file                 func(tool) []byte
		keygen, putty, vigil bool
	}{
		{"headers with AES-128-CBC", "", traditional("aes-128-cbc"), yes, yes, yes},
		{"headers with DES-EDE3-CBC", "", traditional("des-ede3-cbc"), yes, yes, yes},
		{"headers with DES-CBC", "PEM under single DES", traditional("des-cbc"), no, no, yes},
		{"headers with CAMELLIA-256-CBC", elsewhere, traditional("camellia-256-cbc"), yes, no, no},
		{"headers with ARIA-128-CBC", elsewhere, traditional("aria-128-cbc"), yes, no, no},
		{"headers with AES-256-CTR", elsewhere, traditional("aes-256-ctr"), yes, no, no},
		{"headers with AES-128-CFB", elsewhere, traditional("aes-128-cfb"), yes, no, no},
		{"headers with AES-128-OFB", elsewhere, traditional("aes-128-ofb"), yes, no, no},
		{"headers with BF-CBC", "", traditional("bf-cbc"), no, no, no},
		{"headers with RC2-CBC", "", traditional("rc2-cbc"), no, no, no},
		{"PBES2 with AES-256-CBC", "", modern("aes-256-cbc"), yes, no, yes},
		{"PBES2 with DES-EDE3-CBC", "", modern("des-ede3-cbc"), yes, no, yes},
		{"PBES2 with CAMELLIA-256-CBC", elsewhere, modern("camellia-256-cbc"), yes, no, no},
		{"PBES2 with AES-256-OFB", elsewhere, modern("aes-256-ofb"), yes, no, no},
		{"PBES2 with DES-CBC", "", modern("des-cbc"), no, no, no},
		{"PBES2 with hmacWithSHA512-256", "", modern("aes-256-cbc", "-v2prf", "hmacWithSHA512-256"), yes, no, yes},
		{"PBES2 with hmacWithSHA512-224", "", modern("aes-256-cbc", "-v2prf", "hmacWithSHA512-224"), yes, no, yes},
		{"PBES2 with hmacWithMD5", elsewhere, modern("aes-256-cbc", "-v2prf", "hmacWithMD5"), yes, no, no},
		{"PBES1 with SHA-1 and 3DES", elsewhere, old("PBE-SHA1-3DES"), yes, no, no},
		{"PBES1 with MD5 and DES", "", old("PBE-MD5-DES"), no, no, no},
		{"Argon2d", ".ppk with Argon2d", asIs("ed25519.ppk3.argon2d"), no, yes, no},
		{".ppk of version 1", "", ppkVersion1, no, yes, no},
		{"ssh.com's format", "", asIs("rsa2048.sshcom"), no, yes, no},
		{"Ed448 in .ppk", "", asIs("ed448.ppk3"), no, yes, no},
		{"a curve given by its parameters", "", asIs("p256.pem-explicit"), yes, no, no},
		{"SEC 1 without its public half", "", asIs("p256.pem-nopublic"), yes, no, yes},
		{"SEC 1 with a compressed point", "", asIs("p256.pem-compressed"), yes, no, yes},
		{"secp256k1", "", asIs("secp256k1.pem"), no, no, no},
		{"RSA restricted to PSS", "", asIs("rsapss.pkcs8"), no, no, no},
	} {
		all = append(all, specimen{c.name, c.kind, c.keygen, c.putty, c.vigil, c.file(newTool(t)), nil})
	}
	return all
}
