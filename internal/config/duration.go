package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, the largest unit of a Duration.
const Day = 24 * time.Hour

// ErrDuration reports a text that isn't a duration with units.
var ErrDuration = errors.New(`a duration is numbers with units, d, h, m or s, such as "7d", "1h30m" or "0"`)

// MaxDuration is the longest duration of a setting. It keeps sums with dates from
// overflowing.
const MaxDuration = Duration(3650 * Day)

// Duration is a time span in the form of the configuration: whole numbers,
// each followed by its unit, d, h, m or s, larger units first, or "0".
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// units of a Duration, largest first.
var units = []struct {
	letter byte
	size   time.Duration
}{{'d', Day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration reads a duration in String's form. The error wraps ErrDuration.
func ParseDuration(text string) (Duration, error) {
	if text == "0" {
		return 0, nil
	}
	bad := func() (Duration, error) {
		if len(text) > 32 {
			text = text[:32] + "…"
		}
		return 0, fmt.Errorf("duration %q: %w", text, ErrDuration)
	}
	rest, sum, next := text, time.Duration(0), 0
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 1 {
			return bad()
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return bad()
		}
		for next < len(units) && units[next].letter != rest[digits] {
			next++
		}
		if next == len(units) || n > int64(MaxDuration)/int64(units[next].size) {
			return bad()
		}
		sum += time.Duration(n) * units[next].size
		next++
		rest = rest[digits+1:]
	}
	if text == "" || sum > time.Duration(MaxDuration) {
		return bad()
	}
	return Duration(sum), nil
}

// String writes the duration in whole seconds with the largest units that fit: "1d12h".
func (d Duration) String() string {
	rest := time.Duration(d)
	var b strings.Builder
	for _, u := range units {
		if n := rest / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			rest -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}

// UnmarshalText is ParseDuration, for TOML.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// MarshalText is String, for TOML and JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
