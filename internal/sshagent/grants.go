package sshagent

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"vigil/internal/policy"
)

const (
	// GrantTime is how long a yes that isn't for one use alone holds.
	GrantTime = 10 * time.Minute
	// maxGrants is how many answers are remembered. Further ones hold once.
	maxGrants = 256
	// sleepSlack is how much the time that the machine has slept may seem to grow while
	// it is awake: its two clocks are read one after the other.
	sleepSlack = time.Second
)

// scope is the uses that an answer holds for: never more than the person was shown. The
// zero scope is no use.
type scope struct {
	key       string // blob of the key or certificate
	class     policy.Class
	user      string // of a login
	namespace string // of a signature of a file
	host      string // blob of the key of the host to log in to
	hops      string // the hosts that the agent was forwarded to, in their order
	origin    string // what the program belongs to
}

// scope returns the uses like this one.
func (s *session) scope(id *identity, use *policy.Use) scope {
	same := scope{
		key: string(id.key.Blob), class: use.Class,
		user: string(use.Login.User), namespace: string(use.Signature.Namespace),
		origin: s.agent.o.OriginOf(s.peer.PID),
	}
	if use.Host != nil {
		same.host = string(use.Host.Blob)
	}
	for i := range s.path.Bindings {
		if b := &s.path.Bindings[i]; b.Forwarding {
			sum := sha256.Sum256(b.Host.Blob)
			same.hops += string(sum[:])
		}
	}
	return same
}

// Grant is an answer that holds for some time.
type Grant struct {
	Number int // in the order they were given
	Question
	Origin string        // what the program belongs to that it was given to
	Left   time.Duration // for which it holds
	Uses   int           // since
}

// grant is an answer, with what it was given for.
type grant struct {
	Grant
	id    *identity
	until time.Duration // in boot time
	slept time.Duration // when it was given
}

// grants are the answers that hold: until their time is over, the machine sleeps, or the
// key is locked, edited or removed. They are in memory only.
type grants struct {
	bootTime, slept func() time.Duration

	mu   sync.Mutex
	last int
	of   map[scope]*grant
}

func newGrants(bootTime, slept func() time.Duration) *grants {
	return &grants{bootTime: bootTime, slept: slept, of: map[scope]*grant{}}
}

// hold reports whether an answer holds for a use.
func (g *grants) hold(same scope) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep()
	if found := g.of[same]; found != nil {
		found.Uses++
		return true
	}
	return false
}

// sweep removes what no longer holds. The caller holds mu.
func (g *grants) sweep() {
	now, slept := g.bootTime(), g.slept()
	for same, one := range g.of {
		if now >= one.until || slept > one.slept+sleepSlack {
			delete(g.of, same)
		}
	}
}

// grant remembers an answer, unless its key has changed meanwhile.
func (a *Agent) grant(same scope, id *identity, q Question) {
	a.mu.Lock() // so that no snapshot is published in between
	defer a.mu.Unlock()
	if !a.current.Load().usable(id) {
		return
	}
	g := a.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sweep(); len(g.of) >= maxGrants {
		return
	}
	g.last++
	g.of[same] = &grant{
		Grant: Grant{Number: g.last, Question: q, Origin: same.origin, Uses: 1},
		id:    id, until: g.bootTime() + q.Longer, slept: g.slept(),
	}
}

// usable reports whether id can be used in s as before.
func (s *snapshot) usable(id *identity) bool {
	now := s.byBlob[string(id.key.Blob)]
	return !s.locked && now != nil && now.signer != nil && now.signer == id.signer && sameUse(now, id)
}

// keep removes the answers about keys that can't be used in s as before.
func (g *grants) keep(s *snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for same, one := range g.of {
		if !s.usable(one.id) {
			delete(g.of, same)
		}
	}
}

// Grants returns the answers that hold, in the order they were given.
func (a *Agent) Grants() []Grant {
	g := a.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep()
	list := make([]Grant, 0, len(g.of))
	for _, one := range g.of {
		one.Left = one.until - g.bootTime()
		list = append(list, one.Grant)
	}
	slices.SortFunc(list, func(a, b Grant) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// Revoke removes one answer, or all for 0, and returns how many it removed.
func (a *Agent) Revoke(number int) (n int) {
	g := a.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	for same, one := range g.of {
		if number == 0 || one.Number == number {
			delete(g.of, same)
			n++
		}
	}
	return n
}
