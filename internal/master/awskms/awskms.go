// Package awskms implements a master key in AWS KMS: a symmetric key that never
// leaves the service. It makes and unwraps shares with GenerateDataKey and Decrypt,
// and moves them to another key with ReEncrypt, so that their plaintext stays in
// KMS.
//
// Every request carries the KeyId and the encryption context of [master.Context].
// The KeyId keeps KMS from decrypting with another key that a forged wrapped share
// names. The context is KMS's additional authenticated data; IAM conditions can
// test it, and CloudTrail shows it.
//
// The SDK leaves copies of a share in buffers that can't be wiped. So only
// vigil-opener links this package, a process that ends after one job.
package awskms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"vigil/internal/awsauth"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/master"
)

// CallTimeout limits one operation with all its attempts. KMS answers within
// tens of milliseconds; throttling takes some seconds to pass.
const CallTimeout = 20 * time.Second

// Key is a key in AWS KMS. It is safe for concurrent use, holds no secret but the
// account's credentials, and needs no closing.
type Key struct {
	uri     master.URI
	account *awsauth.Account
	client  *kms.Client

	operations, attempts atomic.Uint64
}

var _ master.Key = (*Key)(nil)

// Open reads the AWS configuration for the key that uri names. It makes no
// request. The URI's profile, region and imds take precedence over those of o.
// An error is a *fault.Error.
func Open(ctx context.Context, uri master.URI, o awsauth.Options) (*Key, error) {
	const op = "open"
	if uri.Scheme != master.SchemeAWSKMS || uri.KeyID == "" {
		return nil, misconfigured(op, fmt.Errorf("%q names no key of AWS KMS", uri), "Give awskms:///KEY.")
	}
	if uri.Endpoint != "" {
		if err := awsauth.CheckEndpoint(uri.Endpoint); err != nil {
			return nil, misconfigured(op, err, "Correct the endpoint of the master key's URI.")
		}
	}
	account, err := awsauth.Load(ctx, o.Of(uri.Profile, uri.Region, uri.IMDS))
	if err != nil {
		return nil, sorted(op, err, "")
	}
	if account.Config.Region == "" {
		return nil, misconfigured(op, errors.New("no AWS region"), "Add ?region=… to the master key's URI.")
	}
	k := &Key{uri: uri, account: account}
	k.uri.Region = account.Config.Region
	k.client = kms.NewFromConfig(account.Config, func(o *kms.Options) {
		if uri.Endpoint != "" {
			o.BaseEndpoint = aws.String(uri.Endpoint)
		}
		o.Interceptors.AddBeforeTransmit(counter{&k.attempts})
	})
	return k, nil
}

// counter counts what goes over the wire.
type counter struct{ n *atomic.Uint64 }

// BeforeTransmit counts an attempt.
func (c counter) BeforeTransmit(context.Context, *smithyhttp.InterceptorContext) error {
	c.n.Add(1)
	return nil
}

// Calls returns the number of requests to KMS so far, without requests for signing
// in.
func (k *Key) Calls() master.Calls {
	return master.Calls{Operations: k.operations.Load(), Attempts: k.attempts.Load()}
}

// Skew returns how far AWS's clock is ahead of this machine's, according to KMS's
// last answer.
func (k *Key) Skew() (ahead time.Duration, ok bool) { return k.account.Skew() }

// SignIn gets AWS credentials without a request to KMS, and asks for an MFA code
// if one is needed. Every call does this too; a job that signs in first can tell
// the user what it is waiting for.
func (k *Key) SignIn(ctx context.Context) error {
	_, err := k.account.SignIn(ctx)
	if err != nil {
		return sorted("sign in", err, "")
	}
	return nil
}

// do makes one request: credentials, then deadline, then the call.
func (k *Key) do(ctx context.Context, op string, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return sorted(op, err, "")
	}
	credentials, err := k.account.SignIn(ctx)
	if err != nil {
		return sorted(op, err, "")
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	k.operations.Add(1)
	if err := call(ctx); err != nil {
		err = sorted(op, err, credentials.AccessKeyID)
		if errors.Is(err, fault.ErrSignIn) {
			k.account.Refused()
		}
		return err
	}
	return nil
}

// Generate makes a new share with GenerateDataKey. See [master.Key].
func (k *Key) Generate(ctx context.Context, dst []byte, c master.Context) ([]byte, error) {
	const op = "GenerateDataKey"
	if err := checkCall(dst, c); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var wrapped []byte
	err := k.do(ctx, op, func(ctx context.Context) error {
		out, err := k.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
			KeyId: &k.uri.KeyID, EncryptionContext: c.Fields(), KeySpec: types.DataKeySpecAes256,
		})
		if err != nil {
			return err
		}
		wrapped = out.CiphertextBlob
		return take(dst, out.Plaintext)
	})
	if err == nil && (len(wrapped) == 0 || len(wrapped) > master.MaxWrapped) {
		err = misconfigured(op, fmt.Errorf("wrapped share of %d bytes, want 1 to %d", len(wrapped), master.MaxWrapped), nextFake)
	}
	if err != nil {
		guard.Wipe(dst)
		return nil, err
	}
	return wrapped, nil
}

// Decrypt unwraps a share with Decrypt. See [master.Key].
func (k *Key) Decrypt(ctx context.Context, dst, wrapped []byte, c master.Context) error {
	const op = "Decrypt"
	if err := checkCall(dst, c); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := checkWrapped(op, wrapped); err != nil {
		guard.Wipe(dst)
		return err
	}
	err := k.do(ctx, op, func(ctx context.Context) error {
		out, err := k.client.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &k.uri.KeyID, CiphertextBlob: wrapped, EncryptionContext: c.Fields(),
			EncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
		})
		if err != nil {
			return err
		}
		return take(dst, out.Plaintext)
	})
	if err != nil {
		guard.Wipe(dst)
	}
	return err
}

// Rewrap moves a share to another key of AWS KMS with ReEncrypt, under the
// same encryption context. Both keys must be in the same region, and the
// caller be allowed kms:ReEncryptFrom and kms:ReEncryptTo. See [master.Key].
func (k *Key) Rewrap(ctx context.Context, wrapped []byte, c master.Context, to master.URI) ([]byte, error) {
	const op = "ReEncrypt"
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := checkWrapped(op, wrapped); err != nil {
		return nil, err
	}
	if to.Scheme != master.SchemeAWSKMS || to.KeyID == "" {
		return nil, misconfigured(op, fmt.Errorf("a share can't move from AWS KMS to %s", to.Scheme), nextNewShare)
	}
	if to.Region != "" && to.Region != k.uri.Region {
		return nil, misconfigured(op, fmt.Errorf("a share can't move from %s to a key in %s", k.uri.Region, to.Region), nextNewShare)
	}
	var again []byte
	err := k.do(ctx, op, func(ctx context.Context) error {
		out, err := k.client.ReEncrypt(ctx, &kms.ReEncryptInput{
			CiphertextBlob: wrapped,
			SourceKeyId:    &k.uri.KeyID, SourceEncryptionContext: c.Fields(),
			DestinationKeyId: &to.KeyID, DestinationEncryptionContext: c.Fields(),
		})
		if err != nil {
			return err
		}
		again = out.CiphertextBlob
		return nil
	})
	return again, err
}

// Check describes the key with DescribeKey, and refuses one that is disabled,
// pending deletion, or not made for encryption. See [master.Key].
func (k *Key) Check(ctx context.Context) (master.Description, error) {
	const op = "DescribeKey"
	var meta *types.KeyMetadata
	err := k.do(ctx, op, func(ctx context.Context) error {
		out, err := k.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &k.uri.KeyID})
		if err != nil {
			return err
		}
		if out.KeyMetadata == nil || out.KeyMetadata.Arn == nil {
			return errors.New("the answer describes no key")
		}
		meta = out.KeyMetadata
		return nil
	})
	if err != nil {
		return master.Description{}, err
	}
	if err := checkMetadata(op, meta); err != nil {
		return master.Description{}, err
	}
	uri := k.uri
	uri.KeyID = *meta.Arn
	detail := []string{*meta.Arn, "managed by " + strings.ToLower(string(meta.KeyManager))}
	if meta.Origin != "" && meta.Origin != types.OriginTypeAwsKms {
		detail = append(detail, "origin "+string(meta.Origin))
	}
	if aws.ToBool(meta.MultiRegion) {
		detail = append(detail, "multi-region")
	}
	return master.Description{URI: uri, Detail: strings.Join(detail, ", ")}, nil
}

// checkMetadata refuses a key that can't be a master key, or can't be used now.
func checkMetadata(op string, meta *types.KeyMetadata) error {
	if meta.KeySpec != types.KeySpecSymmetricDefault || meta.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		return misconfigured(op, fmt.Errorf("the key is %s for %s", meta.KeySpec, meta.KeyUsage),
			nextKind)
	}
	switch meta.KeyState {
	case types.KeyStateEnabled:
		return nil
	case types.KeyStateDisabled, types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return &fault.Error{Of: master.Name, Kind: fault.ErrRevoked, Op: op, Err: fmt.Errorf("the key's state is %s", meta.KeyState), Next: nextRevoked}
	case types.KeyStateUnavailable, types.KeyStateCreating, types.KeyStateUpdating:
		return &fault.Error{Of: master.Name, Kind: fault.ErrUnreachable, Op: op, Err: fmt.Errorf("the key's state is %s", meta.KeyState), Next: nextLater}
	}
	return misconfigured(op, fmt.Errorf("the key's state is %s", meta.KeyState), "Import the key's material, or use another key.")
}

// take moves a plaintext from an SDK answer into guarded memory.
func take(dst, plaintext []byte) error {
	defer guard.Wipe(plaintext)
	if len(plaintext) != len(dst) {
		return &fault.Error{
			Of:   master.Name,
			Kind: fault.ErrMisconfigured, Err: fmt.Errorf("share of %d bytes, want %d", len(plaintext), len(dst)), Next: nextFake,
		}
	}
	copy(dst, plaintext)
	return nil
}

func checkCall(dst []byte, c master.Context) error {
	if len(dst) != master.ShareSize {
		return fmt.Errorf("room for %d bytes of share, want %d", len(dst), master.ShareSize)
	}
	return c.Validate()
}

// checkWrapped refuses data that can't be a ciphertext of KMS, without a request.
func checkWrapped(op string, wrapped []byte) error {
	if len(wrapped) == 0 || len(wrapped) > master.MaxWrapped {
		return misconfigured(op, fmt.Errorf("wrapped share of %d bytes, want 1 to %d", len(wrapped), master.MaxWrapped), nextDamaged)
	}
	return nil
}
