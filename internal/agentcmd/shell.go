package agentcmd

import (
	"fmt"
	"strings"

	"vigil/internal/paths"
)

// Environment variables that clients find an agent by.
const (
	socketVariable = paths.SocketVariable
	pidVariable    = "SSH_AGENT_PID"
)

// exports returns the lines for a shell to evaluate, byte for byte OpenSSH's. A
// foreground agent prints its process id but doesn't export it.
func exports(socket string, pid int, cshell, foreground bool) string {
	text := assignment(socketVariable, quote(socket, cshell), cshell)
	if !foreground {
		text += assignment(pidVariable, fmt.Sprint(pid), cshell)
	}
	return text + fmt.Sprintf("echo Agent pid %d;\n", pid)
}

// unexports returns the lines printed after -k.
func unexports(pid int, cshell bool) string {
	unset := "unset"
	if cshell {
		unset = "unsetenv"
	}
	return fmt.Sprintf("%s %s;\n%s %s;\necho Agent pid %d killed;\n", unset, socketVariable, unset, pidVariable, pid)
}

func assignment(name, value string, cshell bool) string {
	if cshell {
		return fmt.Sprintf("setenv %s %s;\n", name, value)
	}
	return fmt.Sprintf("%s=%s; export %s;\n", name, value, name)
}

// quote quotes a path as one word of a shell. It quotes like OpenSSH if that is
// correct: backslashes before quotes and backslashes, and double quotes around
// white space. It puts other paths, which OpenSSH's quoting would change or let the
// shell run a part of, in single quotes.
func quote(path string, cshell bool) string {
	space := strings.ContainsAny(path, " \t")
	plain := func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r > 0x7f:
			return true
		case strings.ContainsRune("/._-+,:@%=", r):
			return true
		case r == '\\', r == '"':
			return !space || !cshell // csh has no backslash inside double quotes
		case r == '\'':
			return !space // sh has no backslash before a single quote there
		case r == ' ', r == '\t':
			return true
		}
		return false
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) >= 0 {
		quoted := "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		if cshell { // csh interprets history and line ends even in single quotes
			quoted = strings.NewReplacer("!", `\!`, "\n", "\\\n").Replace(quoted)
		}
		return quoted
	}
	path = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(path)
	if space {
		return `"` + path + `"`
	}
	return path
}
