package awsauth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// transport returns in words why a request got no answer: the SDK's own text names its
// operations and retries, and the cause only at its end. It returns "" for a cause that
// it doesn't know.
func transport(err error) string {
	var (
		dns       *net.DNSError
		op        *net.OpError
		request   *url.Error
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		cancel    *aws.RequestCanceledError
		timeout   interface{ Timeout() bool }
	)
	at := "the service"
	if errors.As(err, &request) {
		if u, e := url.Parse(request.URL); e == nil && u.Host != "" {
			at = u.Host
		}
	}
	switch {
	case errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s isn't valid for it, or isn't trusted here", at)
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no address for " + dns.Name
	case errors.As(err, &dns):
		return "the address of " + dns.Name + " could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return at + " refused the connection"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return at + " can't be reached from this network"
	case errors.As(err, &cancel), errors.Is(err, context.Canceled):
		return "the request to " + at + " was stopped before it was answered"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return at + " didn't answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return at + " ended the connection before it answered"
	case errors.As(err, &op):
		return "the connection to " + at + " failed: " + op.Err.Error()
	}
	return ""
}

// signIn returns in words why there are no credentials, or "".
func signIn(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "no EC2 IMDS role found"), strings.Contains(text, "failed to retrieve credentials"):
		return "there are no AWS credentials: neither in the environment nor in the AWS configuration files"
	case strings.Contains(text, "cached SSO token"), strings.Contains(text, "SSO session"), strings.Contains(text, "SSO token"):
		return "the sign-in to AWS (SSO) has expired, or there was none"
	}
	return ""
}
