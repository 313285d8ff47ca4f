package agentcmd

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Action is what a command line asks for.
type Action int

const (
	Start   Action = iota // an agent
	Kill                  // -k: end the agent that SSH_AGENT_PID names
	Clean                 // -u: remove sockets of agents that have ended
	Version               // -V
)

// Ground is whether an agent runs in the background or the foreground.
type Ground int

const (
	Background Ground = iota
	Foreground        // -D
	Debug             // -d: in the foreground, and logs requests
)

// Command is a parsed command line.
type Command struct {
	Action Action
	Ground Ground
	CShell bool // print for csh rather than for sh

	Socket    string        // -a; empty: in a folder
	Folder    string        // -A, as given; empty: user:.ssh/agent
	Temporary bool          // -T: in a new folder below TMPDIR
	KeepStale bool          // -U: don't clean up first
	AnyHost   bool          // -u -u: sockets of any host
	Lifetime  time.Duration // -t: of keys added without one; 0: unlimited
	Providers string        // -P: libraries that ssh-add may name; empty: the default

	// NoEffect are options that were accepted but have no effect here.
	NoEffect []string
	// Argv is the command whose end ends the agent, or nil.
	Argv []string
}

// Error reports why a command line is refused.
type Error struct {
	Text  string // may be empty if the synopsis suffices
	Usage bool   // whether the synopsis follows it
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "options that don't go together"
	}
	return e.Text
}

// Status returns ssh-agent's exit status for the error.
func (e *Error) Status() int {
	if e.Usage {
		return statusUsage
	}
	return statusFailure
}

// synopsis is printed for a wrong command line.
const synopsis = `usage: ssh-agent [-c | -s] [-d | -D] [-U] [-T | -A folder | -a socket]
                 [-E hash] [-O option] [-P providers] [-t lifetime]
       ssh-agent [-U] [-T | -A folder | -a socket] [-E hash] [-O option]
                 [-P providers] [-t lifetime] command [argument ...]
       ssh-agent [-c | -s] -k
       ssh-agent -u [-u]
       ssh-agent -V
`

// withArgument are the options that take an argument; plain are those that don't.
const (
	withArgument = "AEOPat"
	plain        = "cDdksTuUV"
)

// Parse reads the arguments after the program's name. Options end at the first
// argument that isn't an option, or at "--", and a command follows. shell is the
// value of SHELL: it decides between -c and -s if neither is given. Errors are
// *Error.
func Parse(args []string, shell string) (*Command, error) {
	p := parser{seen: make(map[byte]bool)}
	rest, err := p.options(args)
	if err != nil {
		return nil, err
	}
	c := &p.c
	if c.Action == Version {
		return c, nil
	}
	if len(rest) > 0 {
		for _, alone := range []byte("cksdDu") {
			if p.seen[alone] {
				return nil, &Error{Usage: true}
			}
		}
		c.Argv = rest
		return c, nil
	}
	switch {
	case p.seen['k']:
		c.Action = Kill
	case p.seen['u']:
		c.Action = Clean
	}
	if !p.seen['c'] && !p.seen['s'] {
		c.CShell = len(shell) > 2 && strings.HasSuffix(shell, "csh")
	}
	return c, nil
}

// parser is a partly read command line.
type parser struct {
	c       Command
	seen    map[byte]bool
	websafe bool // -O websafe-allow was given
}

// options reads options up to the first argument that isn't one, as POSIX's getopt
// does, and returns the rest. It stops at -V.
func (p *parser) options(args []string) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		if word == "--" {
			return args[1:], nil
		}
		if len(word) < 2 || word[0] != '-' {
			return args, nil
		}
		args = args[1:]
		for i := 1; i < len(word); i++ {
			option := word[i]
			switch {
			case option == 'V':
				p.c.Action = Version
				return nil, nil
			case strings.IndexByte(plain, option) >= 0:
				if err := p.flag(option); err != nil {
					return nil, err
				}
				continue
			case strings.IndexByte(withArgument, option) < 0:
				return nil, &Error{Text: fmt.Sprintf("unknown option -- %c", option), Usage: true}
			}
			value := word[i+1:]
			if value == "" {
				if len(args) == 0 {
					return nil, &Error{Text: fmt.Sprintf("option requires an argument -- %c", option), Usage: true}
				}
				value, args = args[0], args[1:]
			}
			if err := p.value(option, value); err != nil {
				return nil, err
			}
			break
		}
	}
	return nil, nil
}

// exclusive are groups of mutually exclusive options. In OpenSSH 10.5, -T took
// precedence over -a; 10.6 refuses them together.
var exclusive = []string{"cs", "TAa"}

func (p *parser) flag(option byte) error {
	if err := p.see(option); err != nil {
		return err
	}
	c := &p.c
	switch option {
	case 'c':
		c.CShell = true
	case 'd', 'D':
		if c.Ground != Background {
			return &Error{Usage: true}
		}
		c.Ground = Foreground
		if option == 'd' {
			c.Ground = Debug
		}
	case 'T':
		c.Temporary = true
	case 'U':
		c.KeepStale = true
	}
	return nil
}

func (p *parser) see(option byte) error {
	if option == 'u' && p.seen['u'] {
		p.c.AnyHost = true
	}
	p.seen[option] = true
	for _, group := range exclusive {
		for _, other := range []byte(group) {
			if other != option && strings.IndexByte(group, option) >= 0 && p.seen[other] {
				return &Error{Usage: true}
			}
		}
	}
	return nil
}

func (p *parser) value(option byte, value string) error {
	if option == 'P' && p.seen['P'] {
		return &Error{Text: "-P option already specified"}
	}
	if err := p.see(option); err != nil {
		return err
	}
	c := &p.c
	switch option {
	case 'a':
		if value == "" {
			return &Error{Text: "the socket's path is empty"}
		}
		c.Socket = value
	case 'A':
		c.Folder = value
	case 'E':
		return checkHash(value)
	case 'O':
		return p.setting(value)
	case 'P':
		c.Providers = cmp.Or(value, "!*") // an empty list allows none
	case 't':
		life, ok := parseLifetime(value)
		if !ok {
			return &Error{Text: "Invalid lifetime", Usage: true}
		}
		c.Lifetime = life
	}
	return nil
}

// setting handles -O. Its settings loosen what keys on tokens may be used for, which this
// agent doesn't do.
func (p *parser) setting(value string) error {
	switch {
	case value == "no-restrict-websafe", value == "allow-remote-pkcs11":
	case strings.HasPrefix(value, "websafe-allow="):
		if p.websafe {
			return &Error{Text: "websafe-allow already set"}
		}
		p.websafe = true
	default:
		return &Error{Text: "Unknown -O option"}
	}
	p.c.NoEffect = append(p.c.NoEffect, "-O "+value)
	return nil
}

// checkHash accepts the names of OpenSSH's digests. They have no effect: the
// fingerprints in questions and in the log are always SHA256.
func checkHash(name string) error {
	for _, known := range []string{"MD5", "SHA1", "SHA256", "SHA384", "SHA512"} {
		if strings.EqualFold(name, known) {
			return nil
		}
	}
	return &Error{Text: fmt.Sprintf("Invalid hash algorithm %q", name)}
}
