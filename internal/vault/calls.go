package vault

import (
	"sync"

	"vigil/internal/control"
	"vigil/internal/master"
	"vigil/internal/opener"
)

// Calls counts the calls that openers make to key management services.
type Calls struct {
	mu sync.Mutex
	n  control.KMSCalls
}

// add counts the calls of an unlock or an export, all Decrypt.
func (c *Calls) add(m master.Calls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Decrypt += int64(m.Operations)
}

// created counts the calls of a creation, all GenerateDataKey.
func (c *Calls) created(m master.Calls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.GenerateDataKey += int64(m.Operations)
}

// changed counts the calls of a membership change.
func (c *Calls) changed(m opener.KMSCalls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Decrypt += int64(m.Decrypt)
	c.n.GenerateDataKey += int64(m.GenerateDataKey)
	c.n.ReEncrypt += int64(m.ReEncrypt)
}

// diagnosed counts the calls of a diagnosis: Decrypt and DescribeKey.
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
