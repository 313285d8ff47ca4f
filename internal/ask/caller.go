package ask

import "vigil/internal/session"

// Caller is what the kernel says of the process that made a request. Its number may have
// been given to another process meanwhile, so it says who shares a quiet time and which
// terminal isn't in use, and permits nothing.
type Caller struct {
	// Origin names what it belongs to: the service, or else the session of its terminal.
	Origin string
	tty    uint64 // its controlling terminal, as a device number; 0: none, or unknown
	front  bool   // it is in its terminal's foreground

	session session.ID // of its session; zero: unknown
	group   int        // its process group: a shell gives each command line one
}

// Witness returns where what is typed for the process is typed.
func (c *Caller) Witness() Witness { return Witness{Session: c.session} }
