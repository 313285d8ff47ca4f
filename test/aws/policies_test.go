package aws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// documented is a policy of docs/aws with its placeholders filled in.
func (w *world) documented(name, vault, identity string) string {
	w.Helper()
	root, err := sshtest.ModuleRoot()
	if err != nil {
		w.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "aws", name))
	if err != nil {
		w.Fatal(err)
	}
	filled := strings.NewReplacer("${KeyArn}", w.arn, "${VaultId}", vault, "${IdentityId}", identity, "${BucketName}", bucket, "${Prefix}", prefix).Replace(string(text))
	if strings.Contains(filled, "${") {
		w.Fatalf("%s has placeholders without a value", name)
	}
	return filled
}

// TestDocumentedPolicies: the binaries get along with the least privilege that
// docs/aws.md gives, from nothing, and with another vault's policy don't.
func TestDocumentedPolicies(t *testing.T) {
	w := newWorld(t)
	w.s3.Versioning, w.s3.Lifecycle = "Enabled", expires
	founder := w.cloud.AddUser("founder", w.documented("member.json", "*", "*"))
	l := w.laptop(founder)
	l.OK(l.initArgs("--unlock")...)
	v := l.Vault()

	for _, tc := range []struct {
		policy string
		writes bool
		doctor int // exit status
	}{
		{"member.json", true, sshtest.StatusDone},
		{"device.json", true, sshtest.StatusDone},
		{"unattended.json", false, sshtest.StatusDone},
	} {
		l.signInAs(w.cloud.AddUser("of-"+tc.policy, w.documented(tc.policy, v.ID, v.Identity)))
		l.OK("lock")
		l.Unlock()
		l.OK("refresh")
		name := "key-of-" + tc.policy
		if r := l.Vigilctl("generate", name, "--comment", name); (r.Status == sshtest.StatusDone) != tc.writes {
			t.Errorf("%s: generate: %s", tc.policy, r)
		} else if tc.writes {
			l.Signs(name)
		}
		checks, status := l.doctor()
		if status != tc.doctor {
			t.Errorf("%s: doctor ends with %d: %+v", tc.policy, status, checks)
		}
		says(t, checks, "access", checkup.OK, "decrypts the share")
	}

	l.OK("lock")
	l.signInAs(w.cloud.AddUser("elsewhere", w.documented("member.json", strings.Repeat("A", 43), "*")))
	l.Fails(sshtest.StatusRefused, []string{"user/elsewhere", "kms:Decrypt"}, l.By("unlock")...)
	l.signInAs(w.cloud.AddUser("revoked", w.documented("member.json", v.ID, "*"), w.documented("revoke-identity.json", v.ID, v.Identity)))
	l.Fails(sshtest.StatusRefused, []string{"user/revoked", "kms:Decrypt"}, l.By("unlock")...)
	if got := l.Vault().State; got != control.VaultRevoked {
		t.Errorf("vault is %s", got)
	}
}
