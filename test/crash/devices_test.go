//go:build linux && amd64

package crash

import (
	"strings"
	"testing"
)

// A vault on two devices, the first of which is killed at each step of each
// kind of change in turn. The second gets what the first wrote in one order or
// the other, and goes on working in between. When everything has come to both,
// they agree, and nothing is gone or back.

// TestTwoDevicesKeyringFirst: the keyring is in one folder, so the second device
// has it at once, and the vault file later.
func TestTwoDevicesKeyringFirst(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member", false)
	p.first.underFire(operations, *pairs, 0, func(s shot, r result) {
		p.first.daemon.kill()
		p.second.must("refresh")
		p.works(s.op)
		p.sync()
		p.returns()
		p.finish(p.first, s, r)
		p.agree()
	})
}

// TestTwoDevicesVaultFileFirst: the second device is cut off from the keyring
// when the first writes, and gets the vault file meanwhile.
func TestTwoDevicesVaultFileFirst(t *testing.T) {
	t.Parallel()
	p := newPair(t, "owner", true)
	p.second.door.shut.Store(true)
	p.first.underFire(operations, *pairs, 0, func(s shot, r result) {
		p.first.daemon.kill()
		p.sync()
		p.works(s.op)
		p.second.door.shut.Store(false)
		p.second.must("refresh")
		p.returns()
		p.finish(p.second, s, r)
		p.agree()
		p.second.door.shut.Store(true)
	})
}

// TestTwoDevicesWaitingChange: the first device is cut off when it writes, so
// that its change waits there, and when it is started again. The second gets the
// vault file at once and the keyring when the first has pushed.
func TestTwoDevicesWaitingChange(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member", true)
	p.first.underFire(waitingOperations(), *pairs, 0, func(s shot, _ result) {
		p.first.daemon.kill()
		p.first.door.shut.Store(true)
		p.returns()
		p.first.verify(true)
		p.sync()
		p.works(s.op)
		p.first.door.shut.Store(false)
		p.first.must("refresh")
		p.agree()
	})
}

// waitingOperations are the changes that can be made without the keyring, and
// the refresh that pushes them.
func waitingOperations() (list []operation) {
	for _, op := range operations[:3] {
		list = append(list, operation{op.name, op.prepare, func(h *home, n int) result {
			h.door.shut.Store(true)
			return op.run(h, n)
		}})
	}
	push := operation{name: "refresh", run: func(h *home, _ int) result { return h.run("refresh") }}
	push.prepare = func(h *home, n int) {
		h.door.shut.Store(true)
		aKey(h, n)
		if r := h.edit(h.fresh(n), "waits"); r.code != 0 {
			h.t.Fatal(r)
		}
		h.door.shut.Store(false)
	}
	return append(list, push)
}

// returns starts the first device again and unlocks it.
func (p *pair) returns() {
	p.t.Helper()
	p.first.start(true)
	p.first.unlock()
}

// finish has a device finish a rotation that was cut, and the second one unlock
// with its own passphrase when the first one's was changed.
func (p *pair) finish(by *home, s shot, r result) {
	p.t.Helper()
	if strings.HasPrefix(s.op, "rotate") && r.code != 0 {
		by.must("rotate")
	}
	if s.op == "passphrase" {
		p.second.must("lock")
		p.second.unlock()
	}
}
