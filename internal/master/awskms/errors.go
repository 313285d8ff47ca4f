package awskms

import (
	"errors"
	"strings"

	"vigil/internal/awsauth"
	"vigil/internal/fault"
	"vigil/internal/master"
)

// What the user should do.
const (
	nextRevoked  = "Ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled."
	nextDenied   = "Ask whoever runs the AWS account for access to the key, or check that the right AWS profile is in use."
	nextLater    = "Nothing to do: it is tried again."
	nextKey      = "Check the key id and the region in the master key's URI."
	nextKind     = "Use a symmetric key for encryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)."
	nextOther    = "The share belongs to another key: check the master key's URI; an alias may have been moved."
	nextDamaged  = "The share was wrapped for another vault or identity, or is damaged; restore the keyring from a version that worked."
	nextNewShare = "Give the identity's passphrase, so that it gets a new share there."
	nextFake     = "Check the endpoint: what answered there doesn't behave as AWS KMS."
)

// byCode classifies the KMS errors that mean more than "the request was
// refused". https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
// and the Errors section of each operation.
var byCode = map[string]struct {
	kind error
	next string
}{
	"DisabledException":             {fault.ErrRevoked, nextRevoked},
	"KeyUnavailableException":       {fault.ErrUnreachable, nextLater},
	"KMSInternalException":          {fault.ErrUnreachable, nextLater},
	"DependencyTimeoutException":    {fault.ErrUnreachable, nextLater},
	"LimitExceededException":        {fault.ErrUnreachable, nextLater},
	"NotFoundException":             {fault.ErrMisconfigured, nextKey},
	"InvalidArnException":           {fault.ErrMisconfigured, nextKey},
	"InvalidKeyUsageException":      {fault.ErrMisconfigured, nextKind},
	"UnsupportedOperationException": {fault.ErrMisconfigured, nextKind},
	"IncorrectKeyException":         {fault.ErrMisconfigured, nextOther},
	"InvalidCiphertextException":    {fault.ErrMisconfigured, nextDamaged},
	"InvalidGrantTokenException":    {fault.ErrDenied, nextDenied},
}

// sorted returns a *fault.Error for the error of a request. If KMS doesn't name
// the caller, accessKeyID, which is not secret, identifies it.
func sorted(op string, err error, accessKeyID string) error {
	var e *fault.Error
	if errors.As(err, &e) {
		e.Op = op
		return e
	}
	f := awsauth.Sort(err)
	e = f.Of(master.Name, op, accessKeyID)
	if f.Kind == nil {
		e.Next, e.Kind = refused(f)
	}
	return e
}

// refused classifies errors that are specific to KMS.
func refused(f *awsauth.Fault) (next string, kind error) {
	if known, ok := byCode[f.Code]; ok {
		return known.next, known.kind
	}
	if f.Code != "KMSInvalidStateException" {
		return nextKey, fault.ErrMisconfigured
	}
	// The error names the state only in its text: "arn:… is pending deletion."
	switch {
	case strings.Contains(f.Message, "pending deletion"), strings.Contains(f.Message, "pending replica deletion"):
		return nextRevoked, fault.ErrRevoked
	case strings.Contains(f.Message, "unavailable"), strings.Contains(f.Message, "creating"), strings.Contains(f.Message, "updating"):
		return nextLater, fault.ErrUnreachable
	}
	// A state that this version doesn't know counts as a denial, not as a
	// revocation.
	return nextDenied, fault.ErrDenied
}

func misconfigured(op string, err error, next string) error {
	return &fault.Error{Of: master.Name, Kind: fault.ErrMisconfigured, Op: op, Err: err, Next: next}
}
