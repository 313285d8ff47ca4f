package keeper

import (
	"context"
	"time"

	"vigil/internal/clock"
	"vigil/internal/wire"
)

// Deadlines are the body of OpDeadlines: when the keeper ends, even if the front hangs.
type Deadlines struct {
	Idle  time.Duration // without a use of a key; 0: never
	Lease clock.Instant // a moment, so that the message's delay doesn't extend it; zero: never
}

// Append appends the encoding of d, 24 bytes, to b.
func (d Deadlines) Append(b []byte) []byte {
	b = wire.AppendUint64(b, uint64(d.Idle))
	b = wire.AppendUint64(b, uint64(d.Lease.Boot()))
	return wire.AppendUint64(b, uint64(d.Lease.UnixNano()))
}

// ReadDeadlines decodes deadlines. The error is ErrBadRequest, also for a negative
// idle time.
func ReadDeadlines(body []byte) (d Deadlines, err error) {
	r := wire.NewReader(body)
	d.Idle = time.Duration(r.Uint64())
	d.Lease = clock.Of(time.Duration(r.Uint64()), int64(r.Uint64()))
	if d.Idle < 0 {
		return d, ErrBadRequest
	}
	return d, requestEnd(&r)
}

// SetDeadlines makes the keeper end when no key was used for idle, or at the end of
// lease. Zero values set no deadline.
func (c *Client) SetDeadlines(ctx context.Context, idle time.Duration, lease clock.Instant) error {
	_, err := c.call(ctx, OpDeadlines, Deadlines{Idle: idle, Lease: lease}.Append(nil))
	return err
}
