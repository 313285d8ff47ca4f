// Package launchd holds the LaunchAgent by which macOS's launchd runs vigild from the login
// on (launchd.plist(5)).
package launchd

import (
	_ "embed"
	"encoding/xml"
	"strings"
)

// Label is the agent's name.
const Label = "vigild"

//go:embed vigild.embed.plist
var template string

// Agent returns the agent's property list. program, socket and log are absolute paths: of
// vigild, of SSH_AUTH_SOCK, and of the file that vigild's standard error goes to.
func Agent(program, socket, log string) string {
	return strings.NewReplacer("@PROGRAM@", escape(program), "@SOCKET@", escape(socket), "@LOG@", escape(log)).Replace(template)
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder doesn't fail
	return b.String()
}
