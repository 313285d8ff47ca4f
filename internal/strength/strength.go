// Package strength estimates how many guesses find a passphrase. Only vigil-meter links
// it, a process that ends: the library keeps what it was given in caches of its own, and
// builds its dictionaries whenever a program starts that links it.
package strength

import (
	"math"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
)

// maxMeasured is how much of a passphrase is looked at, in bytes: the work grows with the
// cube of the length, and this much is either strong or repeats itself.
const maxMeasured = 100

// Bits returns the binary logarithm of the number of guesses after which an attacker who
// tries likely passphrases first has found this one (zxcvbn 4.4.2). It knows common
// passwords, English words and names, keyboards, dates and repetitions; what else a
// person may be known for it takes for random.
func Bits(passphrase []byte) float64 {
	if len(passphrase) > maxMeasured {
		end := maxMeasured
		for end > 0 && !utf8.RuneStart(passphrase[end]) {
			end--
		}
		passphrase = passphrase[:end]
	}
	return math.Log2(max(1, zxcvbn.PasswordStrength(string(passphrase), nil).Guesses))
}
