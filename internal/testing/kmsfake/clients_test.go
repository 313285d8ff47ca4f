package kmsfake_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
)

// These tests check the emulator with independent clients. They need sops and the AWS
// command line, so only make test-aws runs them.

// clients skips the test unless make test-aws runs it. Then a missing program is a failure.
func clients(t *testing.T, program string) string {
	t.Helper()
	if os.Getenv("VIGIL_TEST_AWS") == "" {
		t.Skip("runs in make test-aws")
	}
	// The system's AWS command line, not a shim of a language's version manager.
	if path := "/usr/bin/" + program; program == "aws" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a program as a caller and returns its output.
func (f fixture) run(t *testing.T, stdin, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ENDPOINT_URL_KMS=" + f.url}, f.caller.Env()...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func TestSops(t *testing.T) {
	sops := clients(t, "sops")
	f := start(t)
	key := f.kms.CreateKey()
	const secret = "password: correct horse\n"
	plain := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(plain, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, stderr, err := f.run(t, "", sops, "encrypt", "--kms", key, "--encryption-context", "vault:x,app:sops", plain)
	if err != nil {
		t.Fatalf("sops encrypt: %v\n%s", err, stderr)
	}
	if strings.Contains(sealed, "correct horse") || !strings.Contains(sealed, key) {
		t.Fatalf("sops encrypt printed %s", sealed)
	}
	file := filepath.Join(t.TempDir(), "sealed.yaml")
	if err := os.WriteFile(file, []byte(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, stderr, err := f.run(t, "", sops, "decrypt", file)
	if err != nil || opened != secret {
		t.Fatalf("sops decrypt printed %q, %v\n%s", opened, err, stderr)
	}
	if f.cloud.Count("kms:Encrypt")+f.cloud.Count("kms:GenerateDataKey") == 0 || f.cloud.Count("kms:Decrypt") == 0 {
		t.Error("sops asked another KMS")
	}
	f.kms.SetState(key, kmsfake.Disabled)
	if opened, _, err := f.run(t, "", sops, "decrypt", file); err == nil {
		t.Errorf("sops decrypt with a disabled key printed %q", opened)
	}
}

func TestAWSCommandLine(t *testing.T) {
	cli := clients(t, "aws")
	f := start(t)
	key, other := f.kms.CreateKey("alias/vigil"), f.kms.CreateKey()
	aws := func(args ...string) (map[string]any, string, error) {
		stdout, stderr, err := f.run(t, "", cli, append([]string{"--endpoint-url", f.url, "--output", "json", "kms"}, args...)...)
		var out map[string]any
		if err == nil && stdout != "" {
			if err := json.Unmarshal([]byte(stdout), &out); err != nil {
				t.Fatalf("aws %s printed %q: %v", args[0], stdout, err)
			}
		}
		return out, stderr, err
	}
	must := func(args ...string) map[string]any {
		t.Helper()
		out, stderr, err := aws(args...)
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", args[0], err, stderr)
		}
		return out
	}
	fails := func(code string, args ...string) {
		t.Helper()
		if _, stderr, err := aws(args...); err == nil || !strings.Contains(stderr, "("+code+")") {
			t.Errorf("aws %s: %v, want %s\n%s", args[0], err, code, stderr)
		}
	}
	blobFile := func(out map[string]any) string {
		t.Helper()
		blob, err := base64.StdEncoding.DecodeString(out["CiphertextBlob"].(string))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "blob")
		if err := os.WriteFile(path, blob, 0o600); err != nil {
			t.Fatal(err)
		}
		return "fileb://" + path
	}

	made := must("generate-data-key", "--key-id", "alias/vigil", "--key-spec", "AES_256", "--encryption-context", "vigil:vault=x")
	blob := blobFile(made)
	opened := must("decrypt", "--key-id", key, "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=x")
	if opened["Plaintext"] != made["Plaintext"] || opened["KeyId"] != key {
		t.Errorf("aws decrypt: %v, want the data key of %v", opened, made)
	}
	fails("InvalidCiphertextException", "decrypt", "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=y")
	fails("InvalidCiphertextException", "decrypt", "--ciphertext-blob", blob)
	fails("IncorrectKeyException", "decrypt", "--key-id", other, "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=x")
	fails("NotFoundException", "describe-key", "--key-id", "alias/nothing")

	moved := must("re-encrypt", "--ciphertext-blob", blob, "--source-key-id", key, "--destination-key-id", other,
		"--source-encryption-context", "vigil:vault=x", "--destination-encryption-context", "vigil:vault=x")
	opened = must("decrypt", "--key-id", other, "--ciphertext-blob", blobFile(moved), "--encryption-context", "vigil:vault=x")
	if opened["Plaintext"] != made["Plaintext"] {
		t.Error("aws re-encrypt changed the plaintext")
	}

	must("disable-key", "--key-id", key)
	fails("DisabledException", "decrypt", "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=x")
	must("enable-key", "--key-id", key)
	must("schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7")
	fails("KMSInvalidStateException", "decrypt", "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=x")
	described := must("describe-key", "--key-id", "alias/vigil")["KeyMetadata"].(map[string]any)
	if described["KeyState"] != kmsfake.PendingDeletion || described["Arn"] != key {
		t.Errorf("aws describe-key: %v", described)
	}
	if aliases := must("list-aliases")["Aliases"].([]any); len(aliases) != 1 {
		t.Errorf("aws list-aliases: %v", aliases)
	}

	f.caller.SetPolicies(`{"Statement":[{"Effect":"Allow","Action":"kms:DescribeKey","Resource":"*"}]}`)
	fails("AccessDeniedException", "decrypt", "--ciphertext-blob", blob, "--encryption-context", "vigil:vault=x")
	f.caller = &awsfake.Caller{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}
	fails("UnrecognizedClientException", "describe-key", "--key-id", key)
}
