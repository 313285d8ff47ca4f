package awsauth

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"vigil/internal/fault"
)

// CheckEndpoint refuses an endpoint override that is not the base URL of an
// https server, or of an http server on a loopback address.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("parse endpoint: %w", err)
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("endpoint %q: want https://HOST[:PORT]", endpoint)
	}
	if u.Scheme == "http" && !isLocal(u.Hostname(), false) {
		return fmt.Errorf("endpoint %q: http is for loopback addresses only, use https", endpoint)
	}
	return nil
}

// isLocal reports whether host is on this machine. With metadata it also
// accepts the link-local addresses where containers and instances find their
// credentials.
func isLocal(host string, metadata bool) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	return ip.IsLoopback() || metadata && (ip.IsLinkLocalUnicast() || podIdentity.Contains(ip))
}

// podIdentity is where EKS serves credentials and EC2 serves IPv6 metadata.
var podIdentity = netip.MustParsePrefix("fd00:ec2::/32")

// onlyEncrypted refuses requests that would leave this machine unencrypted: an
// endpoint can also come from the environment or the AWS configuration files, and
// KMS's answers hold a share in plaintext. It is the last to see a request.
func onlyEncrypted(stack *middleware.Stack) error {
	check := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		out middleware.FinalizeOutput, _ middleware.Metadata, err error,
	) {
		request, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return out, middleware.Metadata{}, fmt.Errorf("unexpected request type %T", in.Request)
		}
		if u := request.URL; u.Scheme != "https" && !isLocal(u.Hostname(), true) {
			return out, middleware.Metadata{}, &Fault{
				Kind: fault.ErrMisconfigured, Err: fmt.Errorf("refused to send a request in clear to %s", u.Host),
				Next: "Use an https endpoint; see AWS_ENDPOINT_URL and endpoint_url in your AWS configuration.",
			}
		}
		return next.HandleFinalize(ctx, in)
	}
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("VigilOnlyEncrypted", check), middleware.After)
}
