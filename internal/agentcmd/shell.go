package agentcmd

import (
	"fmt"
	"strings"
)

// Environment variables that lead clients to an agent.
const (
	socketVariable = "SSH_AUTH_SOCK"
	pidVariable    = "SSH_AGENT_PID"
)

// exports are the lines for a shell to evaluate, byte for byte OpenSSH's. An
// agent in the foreground tells its process id in words only.
func exports(socket string, pid int, cshell, foreground bool) string {
	text := assignment(socketVariable, quote(socket, cshell), cshell)
	if !foreground {
		text += assignment(pidVariable, fmt.Sprint(pid), cshell)
	}
	return text + fmt.Sprintf("echo Agent pid %d;\n", pid)
}

// unexports are the lines after -k.
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

// quote makes a path one word of a shell. Where OpenSSH's way gives the right
// word it is that way: backslashes before quotes and backslashes, and double
// quotes around white space. Other paths, of which OpenSSH's lines would make
// something else or run a part, stand in single quotes.
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
			return !space // sh has none before a single quote there
		case r == ' ', r == '\t':
			return true
		}
		return false
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) >= 0 {
		quoted := "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		if cshell { // history and line ends work in single quotes too
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
