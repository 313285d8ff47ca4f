package daemon

import "vigil/internal/guard"

// bodies is the guarded memory that ssh-add's messages are read into. There is
// none for them while somebody traces this process: they stay in the socket.
type bodies struct{ slab *guard.Slab }

// Alloc allocates n bytes. See [sshagent.Bodies].
func (b bodies) Alloc(n int) (*guard.Buffer, error) {
	if err := guard.UntracedSelf(); err != nil {
		return nil, err
	}
	return b.slab.Alloc(n)
}
