package main

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/control"
)

func TestALineIsBrokenAtBlanksToFit(t *testing.T) {
	for name, tt := range map[string]struct {
		line  string
		width int
		want  string
	}{
		"no terminal":          {"aaa bbb ccc", 0, "aaa bbb ccc"},
		"it fits":              {"aaa bbb ccc\n", 11, "aaa bbb ccc\n"},
		"too long":             {"aaa bbb ccc\n", 10, "aaa bbb\n    ccc\n"},
		"indented":             {"  aaa bbb", 8, "  aaa\n      bbb"},
		"table":                {"ab  cc dd ee ff", 12, "ab  cc dd ee\n    ff"},
		"table too far right":  {"aa bb cc  dd", 10, "aa bb cc\n    dd"},
		"a long word":          {"at /very/long/path now", 10, "at\n    /very/long/path\n    now"},
		"a command":            {"run `vigilctl up` now", 14, "run\n    `vigilctl up`\n    now"},
		"a quoted path":        {"in '/a b/c d', as", 12, "in\n    '/a b/c d',\n    as"},
		"an apostrophe":        {"it isn't what it's", 12, "it isn't\n    what\n    it's"},
		"brackets":             {"key (X)  [a, b]", 12, "key (X)\n    [a, b]"},
		"brackets too long":    {"key [aaa, bbb, ccc]", 12, "key [aaa,\n    bbb,\n    ccc]"},
		"wide characters":      {"鍵 鍵 鍵 x", 8, "鍵 鍵 鍵\n    x"},
		"combining characters": {"e\u0301e\u0301 e\u0301e\u0301", 5, "e\u0301e\u0301 e\u0301e\u0301"},
		"a quote never closed": {"say \"aaa bbb ccc", 10, "say \"aaa\n    bbb\n    ccc"},
	} {
		if got := fit(tt.line, tt.width); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestHelpFits80Columns, and no word of it is broken: its words are those of the command.
func TestHelpFits80Columns(t *testing.T) {
	b := newBench(t)
	for _, args := range everyCommand(b) {
		c, _, err := (&app{stdin: b.stdin}).root().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(c.Example) {
			if fit(line, usualWidth) != line { // it is copied
				t.Errorf("break this example of %s with a backslash: %s", strings.Join(args, " "), line)
			}
		}
		help := b.ok(append(args, "--help")...).out
		for line := range strings.Lines(help) {
			if n := cells(strings.TrimSuffix(line, "\n")); n > usualWidth {
				t.Errorf("%s --help has a line of %d columns: %s", strings.Join(args, " "), n, line)
			}
		}
		c.Root().InitDefaultHelpCmd()
		c.InitDefaultHelpFlag()
		c.InitDefaultVersionFlag()
		whole := strings.Join(strings.Fields(c.Long+" "+c.UsageString()), " ")
		if got := strings.Join(strings.Fields(help), " "); got != whole {
			t.Errorf("%s --help breaks words:\n%s\nwant %s", strings.Join(args, " "), got, whole)
		}
	}
}

// onTerminal shows what a command prints on a terminal.
func (b *bench) onTerminal(columns uint16, args ...string) string {
	b.Helper()
	p := newPTY(b.T)
	raw, err := p.master.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}); e != nil || err != nil {
		b.Fatal(e, err)
	}
	a := b.app(p.slave, p.slave)
	a.stdout = p.slave
	a.run(b.Context(), args)
	const end = "that was all"
	if _, err := p.slave.WriteString(end); err != nil {
		b.Fatal(err)
	}
	p.expect(end)
	return strings.ReplaceAll(strings.TrimSuffix(p.shown(), end), "\r\n", "\n")
}

// TestOutputFitsItsTerminal: no line is wider than the terminal unless one word is, and
// the words are those that are printed to a pipe.
func TestOutputFitsItsTerminal(t *testing.T) {
	b := newBench(t).withDaemon()
	long := strings.Repeat("long-", 13) + "name" // 69 characters
	b.ok("generate", long, "--comment", "somebody@a-machine-with-a-long-name.example.org, for use at work only")
	b.daemon.failWith(&control.RefreshRequest{}, control.Errorf(control.CodeFailed,
		"Nothing was changed. Look at /a/rather/long/path/to/a/folder/that/nobody/made, and run `vigilctl refresh --vault default` again.",
		"vault %q can't be refreshed, because its backend, which is at the end of a long wire, didn't answer", "default"))
	for _, command := range []string{"list", "status", "show " + long, "why", "refresh", "rm nothing"} {
		args := strings.Fields(command)
		r := b.run(args...)
		plain := r.out + r.errors
		for _, columns := range []uint16{0, 40, 80, 132} {
			t.Run(fmt.Sprint(args[0], " on ", columns), func(t *testing.T) {
				shown := (&bench{
					T: t, home: b.home, paths: b.paths, environ: b.environ, tty: b.tty, stdin: b.stdin, vigild: b.vigild, daemon: b.daemon,
				}).onTerminal(columns, args...)
				room := int(columns)
				if room == 0 {
					room = usualWidth
				}
				for line := range strings.Lines(shown) {
					line = strings.TrimSuffix(line, "\n")
					labelled := len(strings.Fields(line)) <= 2 // a label and one word
					if cells(line) > room && !labelled && !strings.HasPrefix(line, "ssh-ed25519 ") {
						t.Errorf("%d columns: %s", cells(line), line)
					}
				}
				if got, want := strings.Fields(shown), strings.Fields(plain); strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("shown %q\nprinted %q", got, want)
				}
			})
		}
	}
}

// TestWhatIsCopiedIsOneLine: a line for authorized_keys, and one that a shell evaluates.
func TestWhatIsCopiedIsOneLine(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop", "--comment", "somebody at a machine")
	for _, command := range []string{"show laptop --public", "env"} {
		args := strings.Fields(command)
		if got, want := b.onTerminal(20, args...), b.ok(args...).out; got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
