package awsfake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far a request's time may be off, as in AWS.
const maxSkew = 5 * time.Minute

// verify checks a request's signature, AWS Signature Version 4:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
func (c *Cloud) verify(r *http.Request, body []byte, service string, now time.Time) (*Caller, error) {
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return nil, refusal(service, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != service || scope[4] != "aws4_request" {
		return nil, refusal(service, "IncompleteSignature", "Credential should be scoped to correct service: '"+service+"'.")
	}
	c.mu.Lock()
	caller := c.callers[scope[0]]
	c.mu.Unlock()
	if caller == nil || r.Header.Get("X-Amz-Security-Token") != caller.SessionToken {
		return nil, refusal(service, "unknown", "The security token included in the request is invalid.")
	}
	if !caller.Expires.IsZero() && !now.Before(caller.Expires) {
		return nil, refusal(service, "expired", "The security token included in the request is expired")
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil || !strings.HasPrefix(date, scope[1]) {
		return nil, refusal(service, "IncompleteSignature", "Date must be in ISO-8601 'basic format'.")
	}
	if skew := now.Sub(at); skew > maxSkew || skew < -maxSkew {
		return nil, refusal(service, "skew", "Signature expired: "+date+" is now earlier than "+now.Add(-maxSkew).UTC().Format("20060102T150405Z"))
	}
	if want := signature(r, body, service, caller, scope, strings.Split(fields["SignedHeaders"], ";"), date); !hmac.Equal([]byte(want), []byte(fields["Signature"])) {
		return nil, refusal(service, "signature", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return caller, nil
}

func signature(r *http.Request, body []byte, service string, caller *Caller, scope, signed []string, date string) string {
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	var headers strings.Builder
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		if name == "content-length" {
			value = r.Header.Get("Content-Length")
			if value == "" {
				value = lengthOf(r)
			}
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, canonicalPath(r.URL, service), canonicalQuery(r.URL), headers.String(), strings.Join(signed, ";"), payload,
	}, "\n")
	hash := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", date, strings.Join(scope[1:], "/"), hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + caller.SecretAccessKey)
	for _, part := range scope[1:] {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, toSign))
}

func lengthOf(r *http.Request) string {
	var digits []byte
	n := r.ContentLength
	for {
		digits = append(digits, byte('0'+n%10))
		if n /= 10; n <= 0 {
			slices.Reverse(digits)
			return string(digits)
		}
	}
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// canonicalPath returns the escaped path; every service except S3 escapes it twice.
func canonicalPath(u *url.URL, service string) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	if service == "s3" {
		return path
	}
	return strings.ReplaceAll(path, "%", "%25")
}

func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, value := range values {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// refusal returns a refused signature's error with the service's code.
func refusal(service, code, message string) *Refusal {
	status := http.StatusForbidden
	byService := map[string][2]string{ // S3, all others
		"unknown":   {"InvalidAccessKeyId", "UnrecognizedClientException"},
		"expired":   {"ExpiredToken", "ExpiredTokenException"},
		"skew":      {"RequestTimeTooSkewed", "InvalidSignatureException"},
		"signature": {"SignatureDoesNotMatch", "InvalidSignatureException"},
	}
	if names, ok := byService[code]; ok {
		if service == "s3" {
			code = names[0]
		} else {
			code, status = names[1], http.StatusBadRequest
		}
		if service == "sts" {
			status = http.StatusForbidden
		}
	}
	return &Refusal{status, code, message}
}
