package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/internal/testing/sshtest"
)

// retryDeadline bounds commands that wait for something to become true.
const retryDeadline = time.Minute

// commands returns what scripts can say beyond testscript's own commands.
func commands(p provider) map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		// agent: start the agent that the scripts run against, and point SSH_AUTH_SOCK to it.
		"agent": func(ts *testscript.TestScript, neg bool, args []string) {
			usage(ts, !neg && len(args) == 0, "agent")
			p.start(ts)
		},
		// load [option...] file...: put private keys into the agent. Options are
		// ssh-add's; a vault knows -h and -H.
		"load": func(ts *testscript.TestScript, neg bool, args []string) {
			usage(ts, !neg && len(args) > 0, "load [option...] file...")
			p.load(ts, args)
		},
		// vault [option...]: make a vault that is cheap to unlock, and leave it unlocked.
		"vault": func(ts *testscript.TestScript, neg bool, args []string) {
			usage(ts, !neg, "vault [option...]")
			ts.Check(ts.Exec("vigilctl", append(initArguments(ts), args...)...))
		},
		"keygen":    cmdKeygen,
		"authorize": cmdAuthorize,
		"host":      cmdHost,
		"converse":  cmdConverse,
		"exits":     cmdExits,
		"retry":     cmdRetry,
		"exports":   cmdExports,
		"flip":      cmdFlip,
		"json":      cmdJSON,
		"setline":   cmdSetLine,
		"lines":     cmdLines,
		"socket":    cmdSocket,
		"show":      cmdShow,
	}
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// keygen type[:bits] file [option...]: make a key pair without a passphrase
// (or with one, given by -N) whose comment is the file's name.
func cmdKeygen(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "keygen type[:bits] file [option...]")
	kind, bits, hasBits := strings.Cut(args[0], ":")
	call := []string{"-q", "-t", kind, "-C", filepath.Base(args[1]), "-f", ts.MkAbs(args[1])}
	if hasBits {
		call = append(call, "-b", bits)
	}
	call = append(call, args[2:]...)
	if !strings.Contains(strings.Join(args[2:], " "), "-N") {
		call = append(call, "-N", "")
	}
	ts.Check(ts.Exec("ssh-keygen", call...))
}

// authorize file...: let public keys log in to every host of the script. A line
// may begin with options: authorize 'cert-authority' ca.pub.
func cmdAuthorize(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "authorize [options] file...")
	options := ""
	if !strings.HasSuffix(args[0], ".pub") {
		options, args = args[0]+" ", args[1:]
	}
	f, err := os.OpenFile(filepath.Join(ts.Getenv("WORK"), "authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	for _, file := range args {
		_, err := f.WriteString(options + ts.ReadFile(file))
		ts.Check(err)
	}
}

// host name [ca=file] [option...]: start an sshd that ssh -F $SSH knows as name.
// With a CA's private key its host key is certified, and clients are told only
// of the CA. Options are lines of its configuration. The server's log is name.log.
func cmdHost(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "host name [ca=file] [option...]")
	work := ts.Getenv("WORK")
	o := sshtest.HostOptions{Name: args[0], Dir: work, AuthorizedKeys: filepath.Join(work, "authorized_keys")}
	known := ""
	for _, arg := range args[1:] {
		if ca, ok := strings.CutPrefix(arg, "ca="); ok {
			o.CA = ts.MkAbs(ca)
			known = "@cert-authority " + o.Name + " " + ts.ReadFile(ca+".pub")
		} else {
			o.Options = append(o.Options, arg)
		}
	}
	h, err := sshtest.StartHost(o)
	ts.Check(err)
	ts.Defer(h.Close)
	if known == "" {
		known, err = h.KnownHost()
		ts.Check(err)
	}
	block, err := h.ClientConfig()
	ts.Check(err)
	ts.Check(appendTo(filepath.Join(work, "known_hosts"), known))
	ts.Check(appendTo(filepath.Join(work, "ssh_config"), block))
	ts.Setenv(strings.ToUpper(o.Name)+"_PORT", strconv.Itoa(h.Port))
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// exits status program [arg...]: the program ends with just this exit status.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "exits status program [arg...]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitStatus(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("%s ended with status %d, want %d", args[1], got, want)
	}
}

// retry program [arg...]: run it until it succeeds (or fails, with !), for
// things that happen in their own time.
func cmdRetry(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 1, "retry program [arg...]")
	deadline := time.Now().Add(retryDeadline)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err != nil) == neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: still not so after %v", strings.Join(args, " "), retryDeadline)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// exports [file]: take the export lines of the last output (or a file) into the
// script's environment, as eval would in a shell.
func cmdExports(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) <= 1, "exports [file]")
	file := "stdout"
	if len(args) == 1 {
		file = args[0]
	}
	evalExports(ts, ts.ReadFile(file))
}

// evalExports lets a shell do it, so that the lines are what a shell takes.
func evalExports(ts *testscript.TestScript, text string) {
	cmd := exec.Command("sh", "-c", text+"\nenv -0")
	out, err := cmd.Output()
	if err != nil {
		ts.Fatalf("a shell can't evaluate %q: %v", text, err)
	}
	for setting := range strings.SplitSeq(string(out), "\x00") {
		name, value, ok := strings.Cut(setting, "=")
		if ok && strings.Contains(text, name) {
			ts.Setenv(name, value)
		}
	}
}

// flip file offset: flip the lowest bit of a byte; negative offsets count from the end.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "flip file offset")
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(data)
	}
	if at < 0 || at >= len(data) {
		ts.Fatalf("%s has %d bytes", path, len(data))
	}
	data[at] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}

// setline file number text: replace a line (from 1), or append one with number 0.
func cmdSetLine(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "setline file number text")
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	number, err := strconv.Atoi(args[1])
	ts.Check(err)
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if number == 0 {
		lines = append(lines, args[2])
	} else {
		lines[number-1] = args[2]
	}
	ts.Check(os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// lines file number: the file has just so many lines.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "lines file number")
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[0]), "\n"); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[0], got, want)
	}
}

// json path [pattern]: in the JSON that was printed last (on standard output, or
// on standard error where that has nothing), the value at a path like items.0.name
// exists (not, with !) and matches a pattern. $VALUE is set to it.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 1 || len(args) == 2, "json path [pattern]")
	text := ts.ReadFile("stdout")
	if strings.TrimSpace(text) == "" {
		text = ts.ReadFile("stderr")
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		ts.Fatalf("not JSON: %v", err)
	}
	value, ok := walk(v, strings.Split(args[0], "."))
	printed := ""
	if ok {
		printed = printValue(value)
	}
	match := ok
	if ok && len(args) == 2 {
		re, err := regexp.Compile(args[1])
		ts.Check(err)
		match = re.MatchString(printed)
	}
	if match == neg {
		ts.Fatalf("%s is %q (there: %v)", args[0], printed, ok)
	}
	ts.Setenv("VALUE", printed)
}

func walk(v any, path []string) (any, bool) {
	for _, step := range path {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			if step == "length" {
				return float64(len(node)), true
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func printValue(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(out)
}

// socket file: a socket is there that takes connections (not, with !).
func cmdSocket(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 1, "socket file")
	path := ts.MkAbs(args[0])
	if err := dial(path); (err == nil) == neg {
		ts.Fatalf("socket %s: %v", path, err)
	}
}

// show file: put a file into the log of a script that failed.
func cmdShow(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "show file")
	ts.Logf("%s:\n%s", args[0], ts.ReadFile(args[0]))
}
