package keyfile

import "strings"

// Commands that messages recommend, for today's OpenSSL 3, OpenSSH and PuTTY. FILE, NEW
// and COPY stand for names of files. A command never writes a key in plaintext that was
// encrypted. A test runs each of them.
const (
	// opensslRewrite writes a key that OpenSSL reads as PKCS#8 under PBKDF2 and AES.
	opensslRewrite = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW"
	// opensslLegacy also reads what OpenSSL 3 reads only when asked.
	opensslLegacy = "openssl pkcs8 -topk8 -v2 aes-256-cbc -provider legacy -provider default -in FILE -out NEW"
	opensslDER    = "openssl pkcs8 -topk8 -v2 aes-256-cbc -inform DER -in FILE -out NEW"
	opensslPKCS12 = "openssl pkcs12 -legacy -nocerts -in FILE -out NEW"
	opensslCurve  = "openssl ec -param_enc named_curve -aes256 -in FILE -out NEW"
	keygenRounds  = "ssh-keygen -p -a 100 -f COPY"
	puttyOpenSSH  = "puttygen FILE -O private-openssh -o NEW"
	puttyRewrite  = "puttygen FILE --reencrypt -o NEW"
)

// legacyCiphers are parts of the names of ciphers that OpenSSL 3 has in its provider
// "legacy" (OSSL_PROVIDER-legacy(7)).
var legacyCiphers = []string{"DES-", "-DES", "DESX", "RC2", "RC4", "RC5", "BF-", "CAST5", "SEED", "IDEA"}

// rewrite returns the command that rewrites a copy of a key encrypted by a cipher that
// OpenSSL names so.
func rewrite(cipher string) string {
	for _, part := range legacyCiphers {
		if strings.Contains(cipher, part) && !strings.HasPrefix(cipher, "DES-EDE") {
			return opensslLegacy
		}
	}
	return opensslRewrite
}

// unsupportedByOpenSSLsName returns why a cipher or scheme, of a name that OpenSSL gives
// it, isn't supported, and what to do.
func unsupportedByOpenSSLsName(what, name string) error {
	return &UnsupportedError{Type: "the " + what + " " + name, Advice: "rewrite a copy with " + rewrite(name)}
}
