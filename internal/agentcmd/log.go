package agentcmd

import (
	"io"
	"log/slog"
	"log/syslog"
)

// systemLog is where an agent in the background says what it refused and why,
// and how it ended: the system's log, of the facility auth. Where there is none
// it's silent, as ssh-agent is.
func systemLog() *slog.Logger {
	var out io.Writer = io.Discard
	if w, err := syslog.New(syslog.LOG_AUTH|syslog.LOG_INFO, Name); err == nil {
		out = w
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // the system's log has its own
		}
		return a
	}}))
}
