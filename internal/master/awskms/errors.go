package awskms

import (
	"errors"
	"strings"

	"vigil/internal/awsauth"
	"vigil/internal/master"
)

// What a person does about it.
const (
	nextRevoked  = "ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled"
	nextDenied   = "ask whoever runs the AWS account for access to the key, or check that the right AWS profile is in use"
	nextLater    = "nothing to do: it is tried again"
	nextKey      = "check the key id and the region in the master key's URI"
	nextKind     = "use a symmetric key for encryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)"
	nextOther    = "the share belongs to another key: check the master key's URI; an alias may have been moved"
	nextDamaged  = "the share was wrapped for another vault or identity, or is damaged; restore the keyring from a version that worked"
	nextNewShare = "give the identity's passphrase, so that it gets a new share there"
	nextFake     = "check the endpoint: what answered there doesn't behave as AWS KMS"
)

// byCode sorts the errors of KMS's own that mean more than "the request was
// refused". https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
// and the Errors section of each operation.
var byCode = map[string]struct {
	kind error
	next string
}{
	"DisabledException":             {master.ErrRevoked, nextRevoked},
	"KeyUnavailableException":       {master.ErrUnreachable, nextLater},
	"KMSInternalException":          {master.ErrUnreachable, nextLater},
	"DependencyTimeoutException":    {master.ErrUnreachable, nextLater},
	"LimitExceededException":        {master.ErrUnreachable, nextLater},
	"NotFoundException":             {master.ErrMisconfigured, nextKey},
	"InvalidArnException":           {master.ErrMisconfigured, nextKey},
	"InvalidKeyUsageException":      {master.ErrMisconfigured, nextKind},
	"UnsupportedOperationException": {master.ErrMisconfigured, nextKind},
	"IncorrectKeyException":         {master.ErrMisconfigured, nextOther},
	"InvalidCiphertextException":    {master.ErrMisconfigured, nextDamaged},
	"InvalidGrantTokenException":    {master.ErrDenied, nextDenied},
}

// sorted makes a *master.Error of what a request ended with. accessKeyID stands
// for the caller where KMS doesn't name one; it is no secret.
func sorted(op string, err error, accessKeyID string) error {
	var e *master.Error
	if errors.As(err, &e) {
		e.Op = op
		return e
	}
	f := awsauth.Sort(err)
	e = &master.Error{Op: op, Code: f.Code, RequestID: f.RequestID, Caller: f.Caller, Next: f.Next, Err: f}
	switch f.Class {
	case awsauth.Unreachable:
		e.Kind = master.ErrUnreachable
	case awsauth.SignIn:
		e.Kind, e.SignIn = master.ErrUnreachable, true
	case awsauth.Denied:
		e.Kind = master.ErrDenied
	case awsauth.Refused:
		e.Next, e.Kind = refused(f)
	default:
		e.Kind = master.ErrMisconfigured
	}
	if e.Caller == "" && accessKeyID != "" {
		e.Caller = "access key " + accessKeyID
	}
	return e
}

// refused sorts the errors that only KMS knows.
func refused(f *awsauth.Fault) (next string, kind error) {
	if known, ok := byCode[f.Code]; ok {
		return known.next, known.kind
	}
	if f.Code != "KMSInvalidStateException" {
		return nextKey, master.ErrMisconfigured
	}
	// The error names the state in words alone: "arn:… is pending deletion."
	switch {
	case strings.Contains(f.Message, "pending deletion"), strings.Contains(f.Message, "pending replica deletion"):
		return nextRevoked, master.ErrRevoked
	case strings.Contains(f.Message, "unavailable"), strings.Contains(f.Message, "creating"), strings.Contains(f.Message, "updating"):
		return nextLater, master.ErrUnreachable
	}
	// A state this version doesn't know counts as a refusal, but not as a
	// clear one.
	return nextDenied, master.ErrDenied
}

func misconfigured(op string, err error, next string) error {
	return &master.Error{Kind: master.ErrMisconfigured, Op: op, Err: err, Next: next}
}
