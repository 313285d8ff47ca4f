package vault

import (
	"sync"

	"vigil/internal/control"
	"vigil/internal/master"
	"vigil/internal/opener"
)

// Calls counts what openers asked of key management services.
type Calls struct {
	mu sync.Mutex
	n  control.KMSCalls
}

// add counts an unlock's or an export's calls: it asks for Decrypt only.
func (c *Calls) add(m master.Calls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Decrypt += int64(m.Operations)
}

// created counts a creation's calls: it asks for GenerateDataKey only.
func (c *Calls) created(m master.Calls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.GenerateDataKey += int64(m.Operations)
}

// changed counts the calls of a change of membership.
func (c *Calls) changed(m opener.KMSCalls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Decrypt += int64(m.Decrypt)
	c.n.GenerateDataKey += int64(m.GenerateDataKey)
	c.n.ReEncrypt += int64(m.ReEncrypt)
}

// diagnosed counts the calls of a diagnosis: Decrypts, and else DescribeKey.
func (c *Calls) diagnosed(d *opener.Diagnosis) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Decrypt += d.Decrypts
	c.n.DescribeKey += int64(d.Calls.Operations) - d.Decrypts
}

// Get returns the counts since the daemon's start.
func (c *Calls) Get() control.KMSCalls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *Calls) failed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Failed++
}
