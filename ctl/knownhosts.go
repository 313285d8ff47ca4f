package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hashes names with it (sshd(8))
	"encoding/base64"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/pubkey"
)

// maxKnownHostsLine is the longest line of known_hosts that is read, in bytes.
const maxKnownHostsLine = 256 << 10

// maxKnownHosts is the largest known_hosts file that is read, in bytes: a million hosts.
const maxKnownHosts = 128 << 20

// knownHost is one line of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
type knownHost struct {
	names string // patterns, or one hashed name
	key   control.HostKey
}

// knownHosts reads the known_hosts files, by default those that ssh-add -h
// reads. It skips default files that don't exist.
func (a *app) knownHosts(files []string) ([]knownHost, error) {
	optional := len(files) == 0
	if optional {
		if a.paths.Home != "" {
			dir := filepath.Join(a.paths.Home, ".ssh")
			files = append(files, filepath.Join(dir, "known_hosts"), filepath.Join(dir, "known_hosts2"))
		}
		files = append(files, "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
	}
	var hosts []knownHost
	for _, path := range files {
		f, err := a.openFile(path)
		if optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, control.Errorf(control.CodeFailed, "", "read known hosts: %v", err)
		}
		text, err := durable.Read(f, maxKnownHosts)
		_ = f.Close()
		if err != nil {
			return nil, control.Errorf(control.CodeFailed, "", "read known hosts: %v", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, maxKnownHostsLine)
		for lines.Scan() {
			if h, ok := parseKnownHost(lines.Text()); ok {
				hosts = append(hosts, h)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, control.Errorf(control.CodeFailed, "", "read known hosts %s: %v", path, err)
		}
	}
	return hosts, nil
}

// parseKnownHost reads one line. ok is false for revoked keys and lines ssh skips.
func parseKnownHost(line string) (h knownHost, ok bool) {
	fields := strings.Fields(line)
	if len(fields) > 0 && fields[0] == "@cert-authority" {
		h.key.CA, fields = true, fields[1:]
	}
	if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], "@") {
		return knownHost{}, false
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil || pubkey.Type(blob) != fields[1] {
		return knownHost{}, false
	}
	h.names, h.key.Blob = fields[0], blob
	return h, true
}

// matches reports whether the line is about host, in lower case, as OpenSSH's
// host_hash and match_hostname decide.
func (h knownHost) matches(host string) bool {
	if salted, ok := strings.CutPrefix(h.names, "|1|"); ok {
		saltText, sumText, _ := strings.Cut(salted, "|")
		salt, err1 := base64.StdEncoding.DecodeString(saltText)
		sum, err2 := base64.StdEncoding.DecodeString(sumText)
		if err1 != nil || err2 != nil {
			return false
		}
		mac := hmac.New(sha1.New, salt)
		mac.Write([]byte(host))
		return hmac.Equal(mac.Sum(nil), sum)
	}
	found := false
	for pattern := range strings.SplitSeq(h.names, ",") {
		positive, negated := strings.CutPrefix(strings.ToLower(pattern), "!")
		if matchPattern(positive, host) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// matchPattern matches text against a pattern with * and ?, as OpenSSH's
// match_pattern does, in time proportional to the product of their lengths.
func matchPattern(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p, t = p+1, t+1
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// parseDestinations reads constraints in the syntax of ssh-add -h, "[user@]host" or
// "host>[user@]host", and looks up the hosts' keys. A single "" removes all.
func parseDestinations(specs []string, hosts []knownHost) ([]control.Destination, error) {
	destinations := []control.Destination{}
	for _, spec := range specs {
		if spec == "" && len(specs) == 1 {
			return destinations, nil
		}
		var (
			d        control.Destination
			err      error
			from, to = "", spec
		)
		if i := strings.IndexByte(spec, '>'); i >= 0 {
			from, to = spec[:i], spec[i+1:]
			if d.From, err = parseHop(spec, from, hosts); err != nil {
				return nil, err
			}
			if d.From.User != "" {
				return nil, badDestination(spec, "a user is named before \">\"")
			}
		}
		if d.To, err = parseHop(spec, to, hosts); err != nil {
			return nil, err
		}
		destinations = append(destinations, d)
	}
	return destinations, nil
}

func parseHop(spec, text string, hosts []knownHost) (control.Hop, error) {
	hop := control.Hop{Host: text}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		hop.User, hop.Host = text[:i], text[i+1:]
		if hop.User == "" {
			return hop, badDestination(spec, "the user before \"@\" is empty")
		}
	}
	if strings.HasPrefix(hop.Host, "[") && strings.HasSuffix(hop.Host, "]") { // an IPv6 address
		hop.Host = hop.Host[1 : len(hop.Host)-1]
	}
	hop.Host = strings.ToLower(hop.Host)
	if hop.Host == "" || strings.ContainsAny(hop.Host, " \t>") {
		return hop, badDestination(spec, "a host's name is missing or isn't one")
	}
	for _, h := range hosts {
		if h.matches(hop.Host) {
			hop.Keys = append(hop.Keys, h.key)
		}
	}
	if len(hop.Keys) == 0 {
		return hop, control.Errorf(control.CodeFailed, "Connect to it once, or name the file with --known-hosts.",
			"destination %q: no known_hosts file has a key of %s", spec, hop.Host)
	}
	return hop, nil
}

func badDestination(spec, why string) *control.Error {
	return control.Errorf(control.CodeUsage, `Write "[user@]host" or "host>[user@]host".`, "destination %q: %s", spec, why)
}
