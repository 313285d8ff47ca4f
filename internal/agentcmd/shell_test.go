package agentcmd

import (
	"os/exec"
	"strings"
	"testing"
)

// The lines are those of OpenSSH 10.5 for the same socket and process.
func TestExportLines(t *testing.T) {
	for _, tc := range []struct {
		name, got, want string
	}{
		{
			"sh", exports("/tmp/s", 42, false, false),
			"SSH_AUTH_SOCK=/tmp/s; export SSH_AUTH_SOCK;\nSSH_AGENT_PID=42; export SSH_AGENT_PID;\necho Agent pid 42;\n",
		},
		{
			"csh", exports("/tmp/s", 42, true, false),
			"setenv SSH_AUTH_SOCK /tmp/s;\nsetenv SSH_AGENT_PID 42;\necho Agent pid 42;\n",
		},
		{"sh in the foreground", exports("/tmp/s", 42, false, true), "SSH_AUTH_SOCK=/tmp/s; export SSH_AUTH_SOCK;\necho Agent pid 42;\n"},
		{"csh in the foreground", exports("/tmp/s", 42, true, true), "setenv SSH_AUTH_SOCK /tmp/s;\necho Agent pid 42;\n"},
		{"sh after -k", unexports(42, false), "unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid 42 killed;\n"},
		{"csh after -k", unexports(42, true), "unsetenv SSH_AUTH_SOCK;\nunsetenv SSH_AGENT_PID;\necho Agent pid 42 killed;\n"},
		{"space", quote("/tmp/so ck", false), `"/tmp/so ck"`},
		{"quote", quote("/tmp/so'ck", false), `/tmp/so\'ck`},
		{"double quote and backslash", quote(`/tmp/so"c\k`, true), `/tmp/so\"c\\k`},
		{"double quote and space", quote(`/tmp/so" ck`, false), `"/tmp/so\" ck"`},
	} {
		if tc.got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, tc.got, tc.want)
		}
	}
}

// Real shells get back the path from the line, whatever is in it.
func TestShellsEvaluateTheLines(t *testing.T) {
	paths := []string{
		"/home/ada/.ssh/agent/s.abc.local.42.XYZ", "/tmp/so ck", "/tmp/so\tck", "/tmp/so'ck", `/tmp/so"ck`, `/tmp/so\ck`,
		`/tmp/a "b" \c`, "/tmp/it's here", "/tmp/a;echo b", "/tmp/$HOME", "/tmp/`id`", "/tmp/a&b|c<d>e(f)", "/tmp/*?[a]{b,c}",
		"/tmp/a!b", "/tmp/a! 'b'", "~/s", "/tmp/#a", "/tmp/zwölf", "/tmp/a\nb", `/tmp/a\ 'b`, "a=b", "^a^b^",
	}
	for _, shell := range []struct {
		name   string
		cshell bool
	}{{"sh", false}, {"bash", false}, {"dash", false}, {"zsh", false}, {"ksh", false}, {"tcsh", true}} {
		t.Run(shell.name, func(t *testing.T) {
			program, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skip("not installed")
			}
			args := []string{"-c"}
			if shell.cshell {
				args = []string{"-f", "-c"} // without its start-up file
			}
			for _, path := range paths {
				line := assignment(socketVariable, quote(path, shell.cshell), shell.cshell)
				cmd := exec.Command(program, append(args, line+"printenv "+socketVariable)...)
				out, err := cmd.Output()
				if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != path {
					t.Errorf("%q is %q, %v; line: %s", path, got, err, line)
				}
			}
		})
	}
}
