package awsauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// sessionReserve is how long before its expiry a kept session counts as expired, so
// that it doesn't expire between two requests of one job.
const sessionReserve = 2 * time.Minute

// mfaSession returns the name to keep a profile's session under, and whether
// the profile needs an MFA code at all. The name depends on the role and the
// device, so an edited profile never gets the session of the old one.
func mfaSession(cfg aws.Config, profile string) (name string, ok bool) {
	for _, source := range cfg.ConfigSources {
		shared, isShared := source.(config.SharedConfig)
		if !isShared {
			continue
		}
		h := sha256.New()
		for p := &shared; p != nil; p = p.Source {
			ok = ok || p.MFASerial != ""
			for _, part := range []string{profile, p.Profile, p.RoleARN, p.MFASerial} {
				h.Write([]byte(part))
				h.Write([]byte{0})
			}
		}
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16]), ok
	}
	return "", false
}

// keptSession is a credentials provider that uses a kept session while it is
// valid, and otherwise signs in and keeps the new session.
type keptSession struct {
	name     string
	sessions Sessions
	fresh    aws.CredentialsProvider
}

// storedSession is what Sessions keeps, as JSON.
type storedSession struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token"`
	Expires         time.Time `json:"expires"`
}

// Retrieve returns the kept session's credentials, or signs in.
func (k *keptSession) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c, ok := k.kept(); ok {
		return c, nil
	}
	c, err := k.fresh.Retrieve(ctx)
	if err != nil || !c.CanExpire {
		return c, err
	}
	session, err := json.Marshal(storedSession{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires})
	if err != nil {
		return c, err
	}
	// A session that can't be kept still signs this job's requests.
	_ = k.sessions.Save(k.name, session, c.Expires)
	clear(session)
	return c, nil
}

// forget drops the kept session, and the credentials that the SDK has cached.
func (k *keptSession) forget() {
	// If it can't be dropped, the next refusal tries again.
	_ = k.sessions.Save(k.name, nil, time.Time{})
	if cache, ok := k.fresh.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// kept returns the kept session unless it is missing, damaged or expired. None of
// these is an error: a fresh sign-in resolves them all.
func (k *keptSession) kept() (aws.Credentials, bool) {
	data, err := k.sessions.Load(k.name)
	if err != nil || len(data) == 0 {
		return aws.Credentials{}, false
	}
	defer clear(data)
	var s storedSession
	if json.Unmarshal(data, &s) != nil || s.AccessKeyID == "" || s.SecretAccessKey == "" {
		return aws.Credentials{}, false
	}
	if time.Until(s.Expires) < sessionReserve {
		return aws.Credentials{}, false
	}
	return aws.Credentials{
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken,
		Source: "VigilKeptSession", CanExpire: true, Expires: s.Expires,
	}, true
}
