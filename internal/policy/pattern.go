package policy

// Match reports whether name matches pattern as a whole. * matches any number of
// bytes, including none, and ? matches one byte; there are no escapes or lists.
// (OpenSSH: match_pattern.) It takes time at most proportional to the product of both
// lengths.
func Match(name, pattern string) bool {
	n, p := 0, 0
	star, resume := -1, 0 // the last * met, and where in name to try after it
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			n, p = n+1, p+1
		case star >= 0:
			resume++
			n, p = resume, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
