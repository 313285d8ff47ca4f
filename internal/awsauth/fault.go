package awsauth

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"vigil/internal/fault"
)

// Fault is a failed request to AWS, with its class.
type Fault struct {
	// Kind is a kind of package fault; nil: the service refused for a reason of its
	// own, see Code.
	Kind      error
	Code      string // the service's name for the error; may be empty
	Message   string // the service's message; may be empty
	Status    int    // HTTP status; 0 without an answer
	RequestID string // the service's id of the request; may be empty
	Caller    string // ARN of the caller, if the service named it
	Next      string // what to do, one sentence; may be empty
	Err       error
}

// maxMessage is how many bytes of a service's message an error text has at most.
const maxMessage = 300

// Error returns the service's code and message, or the cause.
func (f *Fault) Error() string {
	if f.Code == "" {
		return f.cause()
	}
	if f.Message == "" {
		return f.Code
	}
	return f.Code + ": " + cut(f.Message)
}

// cause says why there is no answer. The SDK's own text is shown, cut, only for a cause
// that has no words here.
func (f *Fault) cause() string {
	words := ""
	if f.Kind == fault.ErrSignIn {
		words = signIn(f.Err)
	}
	if words == "" {
		words = transport(f.Err)
	}
	if words == "" {
		words = cut(f.Err.Error())
	}
	return words
}

// cut returns the first maxMessage bytes of a text.
func cut(text string) string {
	if len(text) > maxMessage {
		return strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Of returns f as the failure of op on name: a master key or a keyring store. If the
// service doesn't name the caller, accessKeyID, which is not secret, identifies it.
func (f *Fault) Of(name, op, accessKeyID string) *fault.Error {
	e := &fault.Error{Kind: f.Kind, Of: name, Op: op, Code: f.Code, RequestID: f.RequestID, Caller: f.Caller, Next: f.Next, Err: f}
	if e.Caller == "" && accessKeyID != "" {
		e.Caller = "access key " + accessKeyID
	}
	return e
}

// What the user should do.
const (
	nextSignIn = "Sign in to AWS again (for example with aws sso login, or vigilctl refresh for an MFA code)."
	nextClock  = "Set this machine's clock: AWS refuses requests that are more than some minutes off."
	nextKeys   = "Check the access key of your AWS profile; it may have been deactivated, replaced or mistyped."
	// NextAccess is the advice for a caller who may not do something. A service that
	// knows what it takes says that in its place.
	NextAccess = "Ask whoever runs the AWS account for access, or check that the right AWS profile is in use."
	nextLater  = "Nothing to do: it is tried again."
	nextFake   = "Something else answered in the service's place; check for a proxy or a login page on this network."
	nextConfig = "Check the AWS profile and region in the AWS configuration files."
)

// byCode classifies the errors that any AWS service may return.
var byCode = map[string]struct {
	kind error
	next string
}{
	"ExpiredToken":                {fault.ErrSignIn, nextSignIn},
	"ExpiredTokenException":       {fault.ErrSignIn, nextSignIn},
	"TokenRefreshRequired":        {fault.ErrSignIn, nextSignIn},
	"UnauthorizedException":       {fault.ErrSignIn, nextSignIn}, // SSO's GetRoleCredentials
	"InvalidGrantException":       {fault.ErrSignIn, nextSignIn}, // SSO's CreateToken
	"AccessDenied":                {fault.ErrDenied, NextAccess},
	"AccessDeniedException":       {fault.ErrDenied, NextAccess},
	"ForbiddenException":          {fault.ErrDenied, NextAccess},
	"AllAccessDisabled":           {fault.ErrDenied, NextAccess},
	"AccountProblem":              {fault.ErrDenied, NextAccess},
	"OptInRequired":               {fault.ErrDenied, NextAccess},
	"InvalidClientTokenId":        {fault.ErrDenied, nextKeys},
	"UnrecognizedClientException": {fault.ErrDenied, nextKeys},
	"InvalidAccessKeyId":          {fault.ErrDenied, nextKeys},
	"RequestTimeTooSkewed":        {fault.ErrMisconfigured, nextClock},
	"RequestExpired":              {fault.ErrMisconfigured, nextClock},
	"RequestInTheFuture":          {fault.ErrMisconfigured, nextClock},
	"SignatureDoesNotMatch":       {fault.ErrMisconfigured, nextKeys},
	"InvalidSignatureException":   {fault.ErrMisconfigured, nextKeys},
	"IncompleteSignature":         {fault.ErrMisconfigured, nextKeys},
	"MissingAuthenticationToken":  {fault.ErrMisconfigured, nextKeys},
	"Throttling":                  {fault.ErrUnreachable, nextLater},
	"ThrottlingException":         {fault.ErrUnreachable, nextLater},
	"ThrottledException":          {fault.ErrUnreachable, nextLater},
	"TooManyRequestsException":    {fault.ErrUnreachable, nextLater},
	"RequestLimitExceeded":        {fault.ErrUnreachable, nextLater},
	"SlowDown":                    {fault.ErrUnreachable, nextLater},
	"RequestTimeout":              {fault.ErrUnreachable, nextLater},
}

// Sort classifies the error of a request. It returns nil for nil.
func Sort(err error) *Fault {
	if err == nil {
		return nil
	}
	var known *Fault
	if errors.As(err, &known) {
		return known
	}
	f := &Fault{Err: err}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		f.RequestID, f.Status = answer.ServiceRequestID(), answer.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" {
		f.Code, f.Message = api.ErrorCode(), api.ErrorMessage()
		f.Caller = callerIn(f.Message)
		f.sortAPI()
		return f
	}
	f.sortTransport()
	return f
}

func (f *Fault) sortAPI() {
	known, ok := byCode[f.Code]
	switch {
	case strings.Contains(f.Message, "MultiFactorAuthentication failed"):
		f.Kind, f.Next = fault.ErrSignIn, "Try again with a fresh MFA code."
	case strings.Contains(f.Message, "Signature expired"), strings.Contains(f.Message, "Signature not yet current"):
		f.Kind, f.Next = fault.ErrMisconfigured, nextClock
	case ok:
		f.Kind, f.Next = known.kind, known.next
	case f.Status >= http.StatusInternalServerError:
		f.Kind, f.Next = fault.ErrUnreachable, nextLater
	case f.Status == http.StatusForbidden:
		f.Kind, f.Next = fault.ErrDenied, NextAccess
	default:
		f.Kind = nil
	}
}

// sortTransport classifies an error without a code from the service.
func (f *Fault) sortTransport() {
	var (
		// Not net.Error: a missing file's errno is one, too.
		network  *net.OpError
		request  *url.Error
		sending  *smithyhttp.RequestSendError
		decoding *smithy.DeserializationError
		cancel   *aws.RequestCanceledError
	)
	var answer answerError
	switch {
	case errors.As(f.Err, &answer): // whatever its status says
		f.Err, f.Kind, f.Next = answer, fault.ErrUnreachable, nextFake
	case errors.Is(f.Err, context.Canceled), errors.Is(f.Err, context.DeadlineExceeded), errors.As(f.Err, &cancel):
		f.Kind, f.Next = fault.ErrUnreachable, nextLater
	case f.Status == http.StatusForbidden || f.Status == http.StatusUnauthorized:
		f.Kind, f.Next = fault.ErrDenied, NextAccess
	case errors.As(f.Err, &network), errors.As(f.Err, &request), errors.As(f.Err, &sending), errors.Is(f.Err, io.ErrUnexpectedEOF):
		f.Kind, f.Next = fault.ErrUnreachable, "Check the network, and that the region is spelled right."
	case errors.As(f.Err, &decoding), f.Status >= http.StatusInternalServerError:
		f.Kind, f.Next = fault.ErrUnreachable, nextFake
	default:
		f.Kind, f.Next = fault.ErrMisconfigured, nextConfig
	}
}

// sortSignIn classifies the error of getting credentials: an error that comes
// neither from the network nor from a service is for a person to fix.
func sortSignIn(err error) *Fault {
	f := Sort(err)
	switch {
	case errors.Is(err, errNoMFA):
		f.Kind, f.Next = fault.ErrSignIn, "Run vigilctl refresh at a terminal and type the MFA code."
	case f.Code == "" && f.Kind == fault.ErrMisconfigured && !isConfig(err):
		f.Kind, f.Next = fault.ErrSignIn, nextSignIn
	}
	return f
}

// sortConfig classifies the error of reading the AWS configuration.
func sortConfig(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return &Fault{Kind: fault.ErrMisconfigured, Err: err, Next: nextConfig}
}

func isConfig(err error) bool {
	var (
		load    config.SharedConfigLoadError
		profile config.SharedConfigProfileNotExistError
		role    config.SharedConfigAssumeRoleError
		fault   *Fault
	)
	return errors.As(err, &load) || errors.As(err, &profile) || errors.As(err, &role) || errors.As(err, &fault)
}

// namedCaller finds the caller in the message of an IAM refusal: "User: arn:… is
// not authorized to perform: …".
var namedCaller = regexp.MustCompile(`User: (arn:[^\s,]{1,512}) is not authorized`)

func callerIn(message string) string {
	if m := namedCaller.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}
