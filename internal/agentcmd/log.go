package agentcmd

import (
	"io"
	"log/slog"
	"log/syslog"
)

// systemLog returns a log to syslog's facility auth, for refusals and the end of a
// background agent. Without syslog, the log discards everything, as ssh-agent does.
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
