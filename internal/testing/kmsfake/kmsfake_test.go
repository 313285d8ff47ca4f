package kmsfake_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
)

type fixture struct {
	cloud  *awsfake.Cloud
	kms    *kmsfake.Server
	caller *awsfake.Caller
	url    string
}

func start(t *testing.T) fixture {
	t.Helper()
	cloud := awsfake.New()
	f := fixture{cloud: cloud, kms: kmsfake.New(cloud), caller: cloud.AddUser("alice")}
	server := httptest.NewServer(f.kms)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// client returns an AWS SDK client that acts as a caller and doesn't retry.
func (f fixture) client(caller *awsfake.Caller) *kms.Client {
	return kms.New(kms.Options{
		Region: awsfake.Region, BaseEndpoint: &f.url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(caller.AccessKeyID, caller.SecretAccessKey, caller.SessionToken),
	})
}

// send signs and sends one request in the JSON protocol.
func (f fixture) send(t *testing.T, target string, body any) (status int, contentType string, answer map[string]any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	sum := sha256.Sum256(data)
	signer := aws.Credentials{AccessKeyID: f.caller.AccessKeyID, SecretAccessKey: f.caller.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), signer, r, hex.EncodeToString(sum[:]), "kms", awsfake.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &answer); err != nil {
		t.Fatalf("answer %q: %v", got, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer
}

// TestRecordedTraffic replays requests recorded with the real AWS KMS and compares the
// answers: status, content type, members and their types, plaintexts, and complete refusals.
func TestRecordedTraffic(t *testing.T) {
	data, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var transcripts []struct {
		Name      string
		Exchanges []struct {
			Target      string
			Request     map[string]any
			Status      int
			ContentType string `json:"content_type"`
			Response    map[string]any
		}
	}
	if err := json.Unmarshal(data, &transcripts); err != nil || len(transcripts) != 4 {
		t.Fatalf("%d transcripts, %v; want 4", len(transcripts), err)
	}
	for _, transcript := range transcripts {
		t.Run(transcript.Name, func(t *testing.T) {
			f := start(t)
			f.kms.CreateKey("alias/test-secrets")
			f.kms.CreateKey("alias/test-secrets2")
			ours := map[string]string{} // recorded ciphertext → ours
			for i, e := range transcript.Exchanges {
				if blob, ok := e.Request["CiphertextBlob"].(string); ok {
					e.Request["CiphertextBlob"] = translate(t, ours, blob)
				}
				status, contentType, got := f.send(t, e.Target, e.Request)
				if status != e.Status || contentType != e.ContentType {
					t.Fatalf("exchange %d: status %d %q, want %d %q", i, status, contentType, e.Status, e.ContentType)
				}
				compare(t, i, got, e.Response, status >= 400)
				if blob, ok := got["CiphertextBlob"].(string); ok {
					ours[e.Response["CiphertextBlob"].(string)] = blob
				}
			}
		})
	}
}

// translate converts a recorded ciphertext to ours, with the same damage.
func translate(t *testing.T, ours map[string]string, recorded string) string {
	t.Helper()
	if blob, ok := ours[recorded]; ok {
		return blob
	}
	sent := decode(t, recorded)
	for original, blob := range ours {
		whole, out := decode(t, original), decode(t, blob)
		at := 0
		for at < len(sent) && at < len(whole) && sent[at] == whole[at] {
			at++
		}
		switch {
		case len(sent) == len(whole): // a byte was changed
			out[min(at, len(out)-1)] ^= sent[at] ^ whole[at]
		case at < len(out): // a byte near the start was left out
			out = slices.Delete(out, at, at+1)
		default: // a byte near the end was
			out = slices.Delete(out, len(out)-2, len(out)-1)
		}
		return base64.StdEncoding.EncodeToString(out)
	}
	t.Fatal("a ciphertext that was never made")
	return ""
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compare(t *testing.T, i int, got, want map[string]any, exactly bool) {
	t.Helper()
	if names, wanted := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(names, wanted) {
		t.Errorf("exchange %d: members %v, want %v", i, names, wanted)
	}
	for name, w := range want {
		g, same := got[name].(string)
		text, isText := w.(string)
		switch {
		case same != isText:
			t.Errorf("exchange %d: %s is %T, want %T", i, name, got[name], w)
		case (exactly || name == "Plaintext" || name == "EncryptionAlgorithm" || name == "KeyOrigin") && g != text:
			t.Errorf("exchange %d: %s is %q, want %q", i, name, g, text)
		case name == "KeyId" && strings.Count(g, ":") != strings.Count(text, ":"),
			name == "KeyMaterialId" && len(g) != len(text):
			t.Errorf("exchange %d: %s is %q, want the form of %q", i, name, g, text)
		}
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("%v, want %s", err, code)
	}
}

// TestErrorsOfAWS: the typed errors that AWS documents.
func TestErrorsOfAWS(t *testing.T) {
	f := start(t)
	c := f.client(f.caller)
	key, other := f.kms.CreateKey("alias/a"), f.kms.CreateKey()
	ours := map[string]string{"app": "vigil"}
	made, err := c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: ours})
	if err != nil {
		t.Fatal(err)
	}
	decrypt := func(key *string, context map[string]string) error {
		out, err := c.Decrypt(t.Context(), &kms.DecryptInput{KeyId: key, CiphertextBlob: made.CiphertextBlob, EncryptionContext: context})
		if err == nil && !bytes.Equal(out.Plaintext, made.Plaintext) {
			t.Error("another plaintext came back")
		}
		return err
	}
	for name, id := range map[string]*string{"no key id": nil, "ARN": &key, "alias": aws.String("alias/a"), "alias ARN": aws.String("arn:aws:kms:eu-central-1:111122223333:alias/a")} {
		if err := decrypt(id, ours); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantCode(t, decrypt(&key, nil), "InvalidCiphertextException")
	wantCode(t, decrypt(&key, map[string]string{"app": "other"}), "InvalidCiphertextException")
	wantCode(t, decrypt(&key, map[string]string{"app": "vigil", "more": "x"}), "InvalidCiphertextException")
	wantCode(t, decrypt(&other, ours), "IncorrectKeyException")
	wantCode(t, decrypt(aws.String("alias/none"), ours), "NotFoundException")
	wantCode(t, decrypt(aws.String("arn:aws:kms:us-east-1:111122223333:key/x"), ours), "NotFoundException")
	wantCode(t, decrypt(aws.String("arn:aws:s3:::x"), ours), "InvalidArnException")

	_, err = c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key})
	wantCode(t, err, "ValidationException")
	_, err = c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperationException")
	signing := f.kms.CreateSigningKey()
	_, err = c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &signing, Plaintext: []byte("x")})
	wantCode(t, err, "InvalidKeyUsageException")

	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, decrypt(&key, ours), "DisabledException")
	if _, err := c.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, decrypt(&key, ours), "KMSInvalidStateException")
	described, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
	if err != nil || described.KeyMetadata.KeyState != types.KeyStatePendingDeletion || described.KeyMetadata.DeletionDate == nil {
		t.Errorf("DescribeKey: %+v, %v; want a key pending deletion", described, err)
	}
	if _, err := c.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, decrypt(&key, ours), "DisabledException")
}

func TestSignatures(t *testing.T) {
	f := start(t)
	key := f.kms.CreateKey()
	describe := func(c *awsfake.Caller) error {
		_, err := f.client(c).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
		return err
	}
	session := f.cloud.AddSession("role", "name", time.Hour)
	for name, c := range map[string]*awsfake.Caller{"user": f.caller, "session": session} {
		if err := describe(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged, stolen, over := *f.caller, *session, f.cloud.AddSession("role", "name", -time.Second)
	forged.SecretAccessKey = "guess"
	stolen.SessionToken = "guess"
	wantCode(t, describe(&forged), "InvalidSignatureException")
	wantCode(t, describe(&stolen), "UnrecognizedClientException")
	wantCode(t, describe(over), "ExpiredTokenException")
	wantCode(t, describe(&awsfake.Caller{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}), "UnrecognizedClientException")

	resp, err := http.Post(f.url, "application/x-amz-json-1.1", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("an unsigned request was answered with %d", resp.StatusCode)
	}
}

// TestPolicyByContext: a caller may use the key for one vault only.
func TestPolicyByContext(t *testing.T) {
	f := start(t)
	key := f.kms.CreateKey()
	mallory := f.cloud.AddUser("mallory", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"`+key+`","Condition":{
			"StringEquals":{"kms:EncryptionContext:vigil:vault":"V"},
			"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["vigil:vault","vigil:purpose"]}}}]}`)
	c := f.client(mallory)
	for name, tc := range map[string]struct {
		context map[string]string
		allowed bool
	}{
		"its vault":      {map[string]string{"vigil:vault": "V"}, true},
		"two fields":     {map[string]string{"vigil:vault": "V", "vigil:purpose": "unlock"}, true},
		"another vault":  {map[string]string{"vigil:vault": "W"}, false},
		"no context":     {nil, false},
		"a field beyond": {map[string]string{"vigil:vault": "V", "x": "y"}, false},
	} {
		_, err := c.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: tc.context})
		if tc.allowed && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !tc.allowed {
			wantCode(t, err, "AccessDeniedException")
		}
	}
	_, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
	wantCode(t, err, "AccessDeniedException")
}

func TestReEncryptNeedsBothRights(t *testing.T) {
	f := start(t)
	from, to := f.kms.CreateKey(), f.kms.CreateKey()
	made, err := f.client(f.caller).Encrypt(t.Context(), &kms.EncryptInput{KeyId: &from, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	for actions, allowed := range map[string]bool{`"kms:ReEncryptFrom","kms:ReEncryptTo"`: true, `"kms:ReEncryptFrom"`: false, `"kms:ReEncryptTo"`: false} {
		who := f.cloud.AddUser("bob", `{"Statement":[{"Effect":"Allow","Action":[`+actions+`],"Resource":"*"}]}`)
		_, err := f.client(who).ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: made.CiphertextBlob, DestinationKeyId: &to})
		if allowed && err != nil {
			t.Errorf("%s: %v", actions, err)
		} else if !allowed {
			wantCode(t, err, "AccessDeniedException")
		}
	}
}

func TestFaultsAndRecord(t *testing.T) {
	f := start(t)
	key := f.kms.CreateKey()
	c := f.client(f.caller)
	describe := func(ctx context.Context) error {
		_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
		return err
	}
	f.cloud.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Status: 400, Code: "ThrottlingException"} })
	wantCode(t, describe(t.Context()), "ThrottlingException")
	f.cloud.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Drop: true} })
	if err := describe(t.Context()); err == nil {
		t.Error("a dropped request was answered")
	}
	f.cloud.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Delay: time.Hour} })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := describe(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a delayed request: %v", err)
	}
	f.cloud.SetFault(nil)
	f.cloud.Forget()
	if err := describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The delayed request may be recorded as late as now.
	e := slices.DeleteFunc(f.cloud.Exchanges(), func(e awsfake.Exchange) bool { return e.Status == 0 })
	if len(e) != 1 || e[0].Action != "kms:DescribeKey" || e[0].Caller != f.caller.ARN || e[0].Status != 200 ||
		!bytes.Contains(e[0].Body, []byte(key)) || !bytes.Contains(e[0].Answer, []byte("KeyMetadata")) || e[0].RequestID == "" {
		t.Errorf("recorded %+v", e)
	}
}
