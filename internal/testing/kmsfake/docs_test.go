package kmsfake_test

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"vigil/internal/master"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/s3fake"
)

// These tests check the policies of docs/aws: they allow what docs/aws.md says, and
// no more.

const docs = "../../../docs/aws/"

// policy reads a policy from docs/aws and fills in its placeholders.
func policy(t *testing.T, name string, values map[string]string) string {
	t.Helper()
	data, err := os.ReadFile(docs + name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for placeholder, value := range values {
		text = strings.ReplaceAll(text, "${"+placeholder+"}", value)
	}
	if strings.Contains(text, "${") {
		t.Fatalf("%s has placeholders without a value", name)
	}
	return text
}

var (
	ours     = master.Context{Vault: [32]byte{1}, Identity: [16]byte{2}, Purpose: master.PurposeUnlock}
	machine  = master.Context{Vault: [32]byte{1}, Identity: [16]byte{2}, Purpose: master.PurposeUnattended}
	recovery = master.Context{Vault: [32]byte{1}, Identity: [16]byte{9}, Purpose: master.PurposeRecovery}
	theirs   = master.Context{Vault: [32]byte{1}, Identity: [16]byte{3}, Purpose: master.PurposeUnlock}
	foreign  = master.Context{Vault: [32]byte{7}, Identity: [16]byte{2}, Purpose: master.PurposeUnlock}
)

func values(key string) map[string]string {
	return map[string]string{
		"KeyArn": key, "NewKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/new", "BucketName": "keys", "Prefix": "vigil",
		"VaultId": ours.Fields()[master.ContextVault], "IdentityId": ours.Fields()[master.ContextIdentity],
	}
}

func TestDocumentedKMSPolicies(t *testing.T) {
	generate := func(c master.Context) awsfake.Call { return kmsCall("kms:GenerateDataKey", c.Fields()) }
	decrypt := func(c master.Context) awsfake.Call { return kmsCall("kms:Decrypt", c.Fields()) }
	more := ours.Fields()
	more["host"] = "laptop"
	describe := kmsCall("kms:DescribeKey", nil)
	for name, tc := range map[string]struct{ allowed, refused []awsfake.Call }{
		"member.json": {
			allowed: []awsfake.Call{generate(ours), decrypt(ours), decrypt(theirs), generate(machine), generate(recovery), describe},
			refused: []awsfake.Call{decrypt(foreign), kmsCall("kms:Decrypt", nil), kmsCall("kms:Decrypt", more), kmsCall("kms:Encrypt", ours.Fields()), kmsCall("kms:DisableKey", nil), kmsCall("kms:ReEncryptFrom", ours.Fields())},
		},
		"device.json": {
			allowed: []awsfake.Call{generate(ours), decrypt(ours), describe},
			refused: []awsfake.Call{decrypt(theirs), decrypt(foreign), decrypt(machine), decrypt(recovery), kmsCall("kms:Decrypt", nil), kmsCall("kms:Decrypt", more)},
		},
		"unattended.json": {
			allowed: []awsfake.Call{decrypt(machine), decrypt(ours)},
			refused: []awsfake.Call{decrypt(theirs), decrypt(foreign), generate(machine), describe, kmsCall("kms:Decrypt", nil)},
		},
		"move-master.json": {
			allowed: []awsfake.Call{kmsCall("kms:ReEncryptFrom", ours.Fields()), kmsCall("kms:ReEncryptTo", theirs.Fields()), describe},
			refused: []awsfake.Call{kmsCall("kms:ReEncryptFrom", foreign.Fields()), decrypt(ours), kmsCall("kms:ReEncryptTo", more)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := awsfake.ParsePolicy(policy(t, name, values(testKey)))
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range tc.allowed {
				if !awsfake.Allowed([]awsfake.Policy{p}, call) {
					t.Errorf("%s %v is refused", call.Action, call.Context)
				}
			}
			for _, call := range tc.refused {
				if awsfake.Allowed([]awsfake.Policy{p}, call) {
					t.Errorf("%s %v is allowed", call.Action, call.Context)
				}
			}
			revoke, err := awsfake.ParsePolicy(policy(t, "revoke-identity.json", values(testKey)))
			if err != nil {
				t.Fatal(err)
			}
			if awsfake.Allowed([]awsfake.Policy{p, revoke}, decrypt(ours)) {
				t.Error("a revoked identity may still decrypt")
			}
		})
	}
}

const testKey = "arn:aws:kms:eu-central-1:111122223333:key/old"

func kmsCall(action string, context map[string]string) awsfake.Call {
	call := awsfake.Call{Action: action, Resource: testKey, Context: map[string][]string{}}
	for name, value := range context {
		call.Context["kms:EncryptionContext:"+name] = []string{value}
	}
	if context != nil {
		call.Context["kms:EncryptionContextKeys"] = slices.Collect(maps.Keys(context))
	}
	return call
}

// TestDocumentedKeyPolicy: even an administrator can use the key only for vaults.
func TestDocumentedKeyPolicy(t *testing.T) {
	f := start(t)
	key := f.kms.CreateKey()
	f.caller.SetPolicies(policy(t, "key-policy.json", map[string]string{"AccountId": awsfake.Account}))
	c := f.client(f.caller)
	_, err := c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: ours.Fields()})
	if err != nil {
		t.Error(err)
	}
	_, err = c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256})
	wantCode(t, err, "AccessDeniedException")
	_, err = c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: map[string]string{"app": "x"}})
	wantCode(t, err, "AccessDeniedException")
	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Error(err)
	}
}

// TestDocumentedBucketPolicies on an emulated bucket: members may read and
// conditionally write the keyring, machines may read it, and nothing else is allowed.
func TestDocumentedBucketPolicies(t *testing.T) {
	cloud := awsfake.New()
	server := httptest.NewServer(s3fake.New(cloud, "keys"))
	defer server.Close()
	for name, writes := range map[string]bool{"member.json": true, "device.json": true, "unattended.json": false} {
		t.Run(name, func(t *testing.T) {
			caller := cloud.AddUser("alice", policy(t, name, values(testKey)), policy(t, "bucket-policy.json", values(testKey)))
			c := s3.New(s3.Options{
				Region: awsfake.Region, BaseEndpoint: &server.URL, UsePathStyle: true, Retryer: aws.NopRetryer{},
				Credentials: credentials.NewStaticCredentialsProvider(caller.AccessKeyID, caller.SecretAccessKey, ""),
			})
			put := func(key string, match *string) error {
				_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("keys"), Key: &key, IfMatch: match, Body: strings.NewReader("x")})
				return err
			}
			get := func(key string) error {
				_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("keys"), Key: &key})
				return err
			}
			wantCode(t, get("vigil/deks"), "NoSuchKey") // not AccessDenied
			wantCode(t, get("vigil/vault.jsonl"), "AccessDenied")
			if err := put("vigil/deks", aws.String(`"0"`)); writes {
				wantCode(t, err, "NoSuchKey") // allowed, but lost the race
			} else {
				wantCode(t, err, "AccessDenied")
			}
			wantCode(t, put("vigil/deks", nil), "AccessDenied")
			wantCode(t, put("other/deks", aws.String(`"0"`)), "AccessDenied")
		})
	}
}

// TestCloudFormationHasTheDocumentedPolicies, and refers only to what exists.
func TestCloudFormationHasTheDocumentedPolicies(t *testing.T) {
	data, err := os.ReadFile(docs + "cloudformation.json")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]any
		Resources  map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	for resource, tc := range map[string]struct{ property, file string }{
		"Key": {"KeyPolicy", "key-policy.json"}, "BucketPolicy": {"PolicyDocument", "bucket-policy.json"}, "MemberPolicy": {"PolicyDocument", "member.json"},
	} {
		text, err := os.ReadFile(docs + tc.file)
		if err != nil {
			t.Fatal(err)
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if got := unsub(template.Resources[resource].Properties[tc.property]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s.%s is not %s:\n%v\n%v", resource, tc.property, tc.file, got, want)
		}
	}
	for _, m := range regexp.MustCompile(`"(?:Ref|Fn::GetAtt)": "([^"]+)"|\$\{([A-Za-z]+)[}.]`).FindAllStringSubmatch(string(data), -1) {
		name := m[1] + m[2]
		_, parameter := template.Parameters[name]
		_, resource := template.Resources[name]
		if !parameter && !resource {
			t.Errorf("the template refers to %s, which it doesn't have", name)
		}
	}
}

// unsub converts Fn::Sub back to the policy files' placeholders.
func unsub(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if s, ok := v["Fn::Sub"].(string); ok {
			return strings.NewReplacer("${Key.Arn}", "${KeyArn}", "${AWS::AccountId}", "${AccountId}").Replace(s)
		}
		out := map[string]any{}
		for name, value := range v {
			out[name] = unsub(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = unsub(value)
		}
		return out
	}
	return v
}

// TestTerraformUsesTheDocumentedPolicies: every policy file it names exists, and
// every placeholder gets a value.
func TestTerraformUsesTheDocumentedPolicies(t *testing.T) {
	data, err := os.ReadFile(docs + "main.tf")
	if err != nil {
		t.Fatal(err)
	}
	uses := regexp.MustCompile(`templatefile\("\$\{path\.module\}/([^"]+)", \{([^}]*)\}`).FindAllStringSubmatch(string(data), -1)
	if len(uses) != 3 {
		t.Fatalf("%d policy files are used, want 3", len(uses))
	}
	for _, use := range uses {
		given := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^\s*(\w+)\s*=`).FindAllStringSubmatch(use[2], -1) {
			given[m[1]] = "x"
		}
		policy(t, use[1], given)
	}
}
