package agentcmd

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// parseLifetime reads a time span in the format of sshd_config(5): the sum of
// numbers, in any order, each followed by s, m, h, d or w, or by nothing for
// seconds. Seconds may appear once, and only they may have a fraction, which is
// truncated. Like OpenSSH's convtime, it refuses more than 2^31-1 seconds.
func parseLifetime(text string) (time.Duration, bool) {
	if text == "" {
		return 0, false
	}
	total, seenSeconds := 0.0, false
	for text != "" {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789."))
		number := text[:digits]
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, false // no number, or two points
		}
		unit := 1.0
		if text = text[digits:]; text != "" {
			switch text[0] {
			case 's', 'S':
			case 'm', 'M':
				unit = 60
			case 'h', 'H':
				unit = 60 * 60
			case 'd', 'D':
				unit = 24 * 60 * 60
			case 'w', 'W':
				unit = 7 * 24 * 60 * 60
			default:
				return 0, false
			}
			text = text[1:]
		}
		if unit == 1 {
			if seenSeconds || strings.HasSuffix(number, ".") {
				return 0, false
			}
			seenSeconds = true
		} else if strings.Contains(number, ".") {
			return 0, false
		}
		total += value * unit
	}
	if total > math.MaxInt32 {
		return 0, false
	}
	return time.Duration(total) * time.Second, true
}
