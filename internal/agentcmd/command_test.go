package agentcmd

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line  string
		shell string
		want  Command
	}{
		{line: "", want: Command{}},
		{line: "", shell: "/bin/bash", want: Command{}},
		{line: "", shell: "/bin/tcsh", want: Command{CShell: true}},
		{line: "", shell: "csh", want: Command{CShell: true}},
		{line: "", shell: "sh", want: Command{}},
		{line: "-s", shell: "/bin/csh", want: Command{}},
		{line: "-c", shell: "/bin/bash", want: Command{CShell: true}},
		{line: "-c -c", want: Command{CShell: true}},
		{line: "-D", want: Command{Ground: Foreground}},
		{line: "-d -a /tmp/s", want: Command{Ground: Debug, Socket: "/tmp/s"}},
		{line: "-sDa/tmp/s", want: Command{Ground: Foreground, Socket: "/tmp/s"}},
		{line: "-a one -a two", want: Command{Socket: "two"}},
		{line: "-T", want: Command{Temporary: true}},
		{line: "-TU", want: Command{Temporary: true, KeepStale: true}},
		{line: "-A user:run", want: Command{Folder: "user:run"}},
		{line: "-t 1h30m", want: Command{Lifetime: 90 * time.Minute}},
		{line: "-t 5 -t 0", want: Command{}},
		{line: "-E md5 -E SHA512", want: Command{}},
		{line: "-P /usr/lib/*", want: Command{Providers: "/usr/lib/*"}},
		{
			line: "-O no-restrict-websafe -O allow-remote-pkcs11 -Owebsafe-allow=ssh:*",
			want: Command{NoEffect: []string{"-O no-restrict-websafe", "-O allow-remote-pkcs11", "-O websafe-allow=ssh:*"}},
		},
		{line: "-k", want: Command{Action: Kill}},
		{line: "-k -c", want: Command{Action: Kill, CShell: true}},
		{line: "-k", shell: "/bin/csh", want: Command{Action: Kill, CShell: true}},
		{line: "-u", want: Command{Action: Clean}},
		{line: "-uu", want: Command{Action: Clean, AnyHost: true}},
		{line: "-u -k", want: Command{Action: Kill}},
		{line: "-V", want: Command{Action: Version}},
		{line: "-sV -z", want: Command{Action: Version}},
		{line: "-t 60 xterm -e -k", want: Command{Lifetime: time.Minute, Argv: []string{"xterm", "-e", "-k"}}},
		{line: "-- -weird -s", want: Command{Argv: []string{"-weird", "-s"}}},
		{line: "-", want: Command{Argv: []string{"-"}}},
		{line: "bash", shell: "/bin/tcsh", want: Command{Argv: []string{"bash"}}},
	} {
		got, err := Parse(strings.Fields(tc.line), tc.shell)
		if err != nil {
			t.Errorf("%q: %v", tc.line, err)
			continue
		}
		if !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%q with %q:\n got %+v\nwant %+v", tc.line, tc.shell, *got, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		line  string
		text  string // all of it
		usage bool
	}{
		{"-x", "unknown option -- x", true},
		{"-sx", "unknown option -- x", true},
		{"--help", "unknown option -- -", true},
		{"-a", "option requires an argument -- a", true},
		{"-st", "option requires an argument -- t", true},
		{"-t 1x", "Invalid lifetime", true},
		{"-t -1", "Invalid lifetime", true},
		{"-c -s", "", true},
		{"-s -c", "", true},
		{"-d -D", "", true},
		{"-DD", "", true},
		{"-T -a /tmp/s", "", true},
		{"-a /tmp/s -A user:x", "", true},
		{"-c true", "", true},
		{"-s true", "", true},
		{"-k true", "", true},
		{"-D true", "", true},
		{"-d true", "", true},
		{"-u true", "", true},
		{"-E md4", `Invalid hash algorithm "md4"`, false},
		{"-O nonsense", "Unknown -O option", false},
		{"-O websafe-allow", "Unknown -O option", false},
		{"-O websafe-allow=a -O websafe-allow=b", "websafe-allow already set", false},
		{"-P a -P b", "-P option already specified", false},
	} {
		_, err := Parse(strings.Fields(tc.line), "")
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("%q: %v", tc.line, err)
			continue
		}
		if refused.Text != tc.text || refused.Usage != tc.usage {
			t.Errorf("%q: %+v", tc.line, refused)
		}
		if want := map[bool]int{true: 1, false: 255}[tc.usage]; refused.Status() != want {
			t.Errorf("%q: status %d", tc.line, refused.Status())
		}
	}
	if _, err := Parse([]string{"-a", ""}, ""); err == nil {
		t.Error("an empty socket path was taken")
	}
}

// The answers are those of OpenSSH 10.5.
func TestParsePID(t *testing.T) {
	for text, want := range map[string]struct {
		pid     int
		problem string
	}{
		"2":                     {2, ""},
		"2147483647":            {2147483647, ""},
		" 12":                   {12, ""},
		"12 ":                   {0, "invalid"},
		"x":                     {0, "invalid"},
		"":                      {0, "invalid"},
		"1":                     {0, "too small"},
		"0":                     {0, "too small"},
		"-5":                    {0, "too small"},
		"-99999999999999999999": {0, "too small"},
		"2147483648":            {0, "too large"},
		"99999999999999999999":  {0, "too large"},
	} {
		pid, problem := parsePID(text)
		if pid != want.pid || problem != want.problem {
			t.Errorf("%q: %d, %q", text, pid, problem)
		}
	}
}

func TestParseLifetime(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0":          0,
		"1":          time.Second,
		"90":         90 * time.Second,
		"90s":        90 * time.Second,
		"90m":        90 * time.Minute,
		"1h30m":      90 * time.Minute,
		"30M1H":      90 * time.Minute,
		"1h1h":       2 * time.Hour,
		"2d":         2 * day,
		"1w":         7 * day,
		"1w2d3h4m5s": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"1m5":        65 * time.Second,
		"1.5s":       time.Second,
		"0.5":        0,
		".5":         0,
		"1m0.9":      time.Minute,
		"2147483647": 2147483647 * time.Second,
	} {
		got, ok := parseLifetime(text)
		if !ok || got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "x", "1x", "-1", "+1", " 1", "1 ", "m", "1mm", "1s1s", "1s1", "11.", "1.s", "1.5m", "1.5.5s", ".", "1e3",
		"0x10", "2147483648", "3551w", strings.Repeat("9", 400),
	} {
		if got, ok := parseLifetime(text); ok {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

func FuzzParseLifetime(f *testing.F) {
	for _, seed := range []string{"1h30m", "1.5s", "2147483647", "1w2d3h4m5s", "", ".", "1.5m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseLifetime(text)
		if ok && (got < 0 || got > (1<<31-1)*time.Second || got%time.Second != 0) {
			t.Errorf("%q is %v", text, got)
		}
	})
}
