package awsauth

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// clock remembers how far the services' clock is ahead of this machine's,
// according to the Date of their last answer.
type clock struct{ ahead atomic.Pointer[time.Duration] }

// Skew returns how far AWS's clock is ahead of this machine's, to the second,
// according to its last answer; ok is false before the first answer.
func (a *Account) Skew() (ahead time.Duration, ok bool) {
	p := a.clock.ahead.Load()
	if p == nil {
		return 0, false
	}
	return *p, true
}

// read is middleware that reads each answer's Date.
func (c *clock) read(stack *middleware.Stack) error {
	look := func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error,
	) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer.Response != nil {
			if at, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
				ahead := at.Sub(time.Now().Truncate(time.Second))
				c.ahead.Store(&ahead)
			}
		}
		return out, meta, err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("VigilClock", look), middleware.After)
}
