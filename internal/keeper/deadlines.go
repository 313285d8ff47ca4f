package keeper

import (
	"context"
	"time"

	"vigil/internal/clock"
	"vigil/internal/wire"
)

// Deadlines are the body of OpDeadlines: when the keeper ends, whatever the front
// does by then.
type Deadlines struct {
	Idle  time.Duration // without a use of a key; 0: never
	Lease clock.Instant // so that what lies between saying and hearing it counts; zero: never
}

// Append appends the encoding of d, 24 bytes, to b.
func (d Deadlines) Append(b []byte) []byte {
	b = wire.AppendUint64(b, uint64(d.Idle))
	b = wire.AppendUint64(b, uint64(d.Lease.Boot()))
	return wire.AppendUint64(b, uint64(d.Lease.UnixNano()))
}

// ReadDeadlines reads deadlines. The error is ErrBadRequest, also for an idle time
// below 0.
func ReadDeadlines(body []byte) (d Deadlines, err error) {
	r := wire.NewReader(body)
	d.Idle = time.Duration(r.Uint64())
	d.Lease = clock.Of(time.Duration(r.Uint64()), int64(r.Uint64()))
	if d.Idle < 0 {
		return d, ErrBadRequest
	}
	return d, requestEnd(&r)
}

// SetDeadlines makes the keeper end when no key was used for idle, or when the
// lease does; 0 and the zero moment are no such deadline.
func (c *Client) SetDeadlines(ctx context.Context, idle time.Duration, lease clock.Instant) error {
	_, err := c.call(ctx, OpDeadlines, Deadlines{Idle: idle, Lease: lease}.Append(nil))
	return err
}
