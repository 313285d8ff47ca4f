package job_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/checkup"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/ringtest"
	"vigil/internal/testing/s3fake"
)

// wantAdvice checks a failure's message, which begins so, and its whole advice.
func wantAdvice(t *testing.T, err error, message, next string) {
	t.Helper()
	var e *opener.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Message, message) || e.Next != next {
		t.Errorf("it says %+v, want %q and %q", e, message, next)
	}
}

// TestAdvice causes failures of jobs.
func TestAdvice(t *testing.T) {
	base := newHome(t)
	base.founded()
	admit := func(h *home, text string) error {
		_, err := ask(h, &opener.Admit{Place: h.place, Passphrase: 1, Text: text, Role: keyring.Member}, input(t, passphrase))
		return err
	}
	importing := func(h *home, text string) error {
		_, err := ask(h, &opener.Import{Vault: h.place.Vault, Key: 1}, input(t, text))
		return err
	}
	for _, tt := range []struct {
		name          string
		cause         func(h *home) error
		message, next string
	}{
		{
			"half a request", func(h *home) error { return admit(h, "-----BEGIN VIGIL IDENTITY REQUEST-----\n") },
			"", "Nothing was changed. Have the complete request sent again.",
		},
		{"a removal of oneself", func(h *home) error {
			_, err := ask(h, &opener.RemoveIdentities{Place: h.place, Passphrase: 1, Identities: []id.Identity{h.place.Identity}}, input(t, passphrase))
			return err
		}, "an identity can't remove itself", "Nothing was changed. Another owner can remove this one."},
		{
			"a keyring where one is to be made", func(h *home) error { _, err := h.create(passphrase); return err },
			"the backend has a keyring already", "Choose another place for the new vault, or move the old keyring away.",
		},
		{"a damaged keyring", func(h *home) error {
			h.replace(backend.Members, []byte("\n"))
			_, _, err := h.unlock(passphrase)
			return err
		}, "verify keyring: members line 1", "Nothing was changed. Put back a good copy of the keyring."},
		{"a keyring of a later version", func(h *home) error {
			h.replace(backend.Members, bytes.Replace(h.object(backend.Members), []byte(`"version":1`), []byte(`"version":9`), 1))
			_, _, err := h.unlock(passphrase)
			return err
		}, "verify keyring: members line 1: version", "Nothing was changed. A newer Vigil wrote it: upgrade."},
		{"an encrypted key file", func(h *home) error {
			encoding, _ := newKey(t, "ed25519", 0)
			return importing(h, keyFile(t, encoding, "key secret"))
		}, "", "Give the key file's passphrase."},
		{
			"a key of SSH protocol 1", func(h *home) error { return importing(h, "SSH PRIVATE KEY FILE FORMAT 1.1\n\x00") },
			"SSH protocol 1", "docs/import.md says what is read and what is refused.",
		},
		{
			"an identity that never was in the vault", func(h *home) error {
				h.place.Identity = id.Identity{1}
				_, _, err := h.unlock(passphrase)
				return err
			}, fmt.Sprintf("identity %v of this device is not admitted to the vault yet", id.Identity{1}),
			"Have an owner admit its request (vigilctl identity admit); vigilctl identity request makes another one.",
		},
		{
			"too many identities for a device that doesn't know its own", func(h *home) error {
				w := ringtest.New(t)
				for range 16 {
					w.Admit(ringtest.NewPerson(t, keyring.Member))
				}
				h.replace(backend.Members, w.Objects().Members)
				h.place.Vault, h.place.Identity = w.Vault(), id.Identity{}
				_, _, err := h.unlock(passphrase)
				return err
			}, "the vault has 17 identities, and this device doesn't know which is its own",
			"Put back this device's state folder, or join the vault anew: `vigilctl identity request --help` says how.",
		},
		{"a store that always has another writer's change", func(h *home) error {
			cloud := inCloud(h)
			request, err := ask(h, &opener.RequestIdentity{
				Place: h.place, Passphrase: 1, MemoryKiB: keyring.MinKDFMemory, Time: keyring.MinKDFTime, Lanes: 4,
			}, input(t, passphrase))
			if err != nil {
				return err
			}
			cloud.SetFault(func(c awsfake.Call) awsfake.Fault {
				if c.Action == "s3:PutObject" {
					return awsfake.Fault{Status: 412, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold"}
				}
				return awsfake.Fault{}
			})
			return admit(h, request.Text)
		}, "other writers were first 64 times", "Try again."},
		{
			"a place that returns something else", func(h *home) error {
				there := newCloud(h.t, func(s *s3fake.Server, r *http.Request) {
					if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/members") {
						s.SetObject("team/members", []byte("another writer's"))
					}
				})
				_, err := ask(h, &opener.MoveBackend{Place: h.place, Passphrase: 1, To: there.uri}, input(t, passphrase))
				return err
			}, "the new place doesn't return what was written there",
			"Nothing was changed. Find out who else writes to the new place.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := base.copied(t)
			wantAdvice(t, tt.cause(h), tt.message, tt.next)
		})
	}
}

// cloud is an emulated bucket, to which a home's place can be moved.
type cloud struct {
	*awsfake.Cloud
	s3  *s3fake.Server
	uri string
}

// newCloud makes an empty bucket. after is called after each request.
func newCloud(t *testing.T, after func(*s3fake.Server, *http.Request)) *cloud {
	t.Helper()
	c := &cloud{Cloud: awsfake.New()}
	c.AddUser("alice").Setenv(t)
	c.s3 = s3fake.New(c.Cloud, "keyrings")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.s3.ServeHTTP(w, r)
		after(c.s3, r)
	}))
	t.Cleanup(server.Close)
	c.uri = "s3://keyrings/team?endpoint=" + url.QueryEscape(server.URL)
	return c
}

// inCloud moves a home's keyring to a bucket.
func inCloud(h *home) *cloud {
	c := newCloud(h.t, func(*s3fake.Server, *http.Request) {})
	for _, o := range []backend.Object{backend.Members, backend.Deks} {
		c.s3.SetObject("team/"+string(o), h.object(o))
	}
	h.place.Backend = c.uri
	return c
}

// TestAdviceOfDoctor: what doctor finds in a backend.
func TestAdviceOfDoctor(t *testing.T) {
	base := newHome(t)
	base.founded()
	for _, tt := range []struct {
		name               string
		spoil              func(h *home, c *cloud)
		what, detail, next string
		result             checkup.Result
	}{
		{
			"versions that may not be seen", func(h *home, c *cloud) {
				c.AddUser("bob", `{"Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}]}`).Setenv(h.t)
			},
			"retention", "this caller may not see the bucket's versioning (s3:GetBucketVersioning)",
			"Check yourself: old versions hold the keys of removed items. docs/aws.md has a lifecycle rule.", checkup.Warn,
		},
		{
			"versions that are kept", func(_ *home, c *cloud) { c.s3.SetVersioning("Enabled") },
			"retention", "replaced keyrings are kept for ever, and with them the keys of removed items",
			"Add a lifecycle rule that ends noncurrent versions, after 30 days say (docs/aws.md).", checkup.Warn,
		},
		{
			"no versions", func(*home, *cloud) {},
			"retention", "replaced keyrings aren't kept: what is overwritten or deleted there is gone",
			"Switch versioning on, with a lifecycle rule that ends old versions (docs/aws.md), or keep backups of the keyring.", checkup.Warn,
		},
		{
			"no keyring", func(_ *home, c *cloud) { c.s3.SetObject("team/members", nil) },
			"access", "not tried: there is no keyring to take the share from", "Repair the keyring first.", checkup.Warn,
		},
		{
			"no keyring, which is the first to be mended", func(_ *home, c *cloud) { c.s3.SetObject("team/members", nil) },
			"keyring", "the keyring store has no members", "Put the keyring back from a backup: without it the vault can't be opened.", checkup.Fail,
		},
		{
			"a device key that is none", func(h *home, _ *cloud) {
				if err := os.WriteFile(filepath.Join(h.place.DeviceDir, "device.key"), []byte("x"), 0o600); err != nil {
					h.t.Fatal(err)
				}
			},
			"device key", "read device key", "vigilctl why, and the daemon's log, may say more.", checkup.Fail,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := base.copied(t)
			tt.spoil(h, inCloud(h))
			d, err := ask(h, &opener.Diagnose{Place: h.place, Identity: h.place.Identity})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(d.Checks, func(c checkup.Check) bool {
				return c.What == tt.what && c.Result == tt.result && strings.HasPrefix(c.Detail, tt.detail) && c.Next == tt.next
			}) {
				t.Errorf("it finds %+v", d.Checks)
			}
		})
	}
}
