package awsauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// maxAnswer is the most bytes of an answer's body, unless its request expects
	// more. Answers of KMS, STS and the metadata service, and every service's
	// errors, have some KiB.
	maxAnswer = 1 << 20
	// maxHeaders is the most bytes of an answer's headers.
	maxHeaders = 64 << 10
	// bodyTimeout is the time in which such a body has to arrive.
	bodyTimeout = 5 * time.Second
)

// expected is the context key of the body size, in bytes, that a request expects.
type expected struct{}

// Expect returns a context for a request whose answer may have a body of n bytes and
// take as long as the context allows. Error answers have the usual limits.
func Expect(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, expected{}, n)
}

// boundAnswers is middleware that limits every body. The SDK reads error bodies into
// memory, and drains unwanted ones, however long they are. boundAnswers sees an answer
// first, and counts bytes as they arrive; they aren't decompressed later, because
// httpClient requests no compression.
func boundAnswers(stack *middleware.Stack) error {
	bound := func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error,
	) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		answer, ok := out.RawResponse.(*smithyhttp.Response)
		if !ok || answer.Response == nil || answer.Body == nil {
			return out, meta, err
		}
		body := &boundedBody{body: answer.Body, most: maxAnswer}
		if n, ok := ctx.Value(expected{}).(int64); ok && answer.StatusCode == http.StatusOK {
			body.most = n
		} else {
			body.timer = time.AfterFunc(bodyTimeout, body.expire)
		}
		body.left = body.most
		answer.Body = body
		return out, meta, err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("VigilBoundAnswers", bound), middleware.After)
}

// answerError reports an answer that no AWS service would send.
type answerError string

func (e answerError) Error() string { return string(e) }

// boundedBody is a body that fails after its largest size or at its timeout.
type boundedBody struct {
	body       io.ReadCloser
	most, left int64
	timer      *time.Timer // nil: only the request's context limits the time

	mu   sync.Mutex
	late bool
}

// expire interrupts a blocked Read.
func (b *boundedBody) expire() {
	b.mu.Lock()
	b.late = true
	b.mu.Unlock()
	_ = b.body.Close()
}

// Read reads from the body, and fails if it is larger than its limit.
func (b *boundedBody) Read(p []byte) (int, error) {
	// Reading one more byte than allowed shows whether the body ends there.
	n, err := b.body.Read(p[:min(int64(len(p)), b.left+1)])
	b.left -= int64(n)
	b.mu.Lock()
	late := b.late
	b.mu.Unlock()
	switch {
	case b.left < 0:
		b.left = -1 // later reads return nothing
		_ = b.body.Close()
		return 0, answerError(fmt.Sprintf("the answer has more than %d bytes", b.most))
	case late && err != nil && err != io.EOF: //nolint:errorlint // a Reader's end is io.EOF itself
		return n, answerError(fmt.Sprintf("the answer took longer than %v", bodyTimeout))
	}
	return n, err
}

// Close closes the body without draining it.
func (b *boundedBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	return b.body.Close()
}
