package kmsfake

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"vigil/internal/testing/awsfake"
)

// contentType is that of the JSON protocol.
const contentType = "application/x-amz-json-1.1"

// Limits of AWS KMS, from its API reference.
const (
	maxPlaintext  = 4096
	maxCiphertext = 6144
	maxDataKey    = 1024
)

// request has the members of all supported operations.
type request struct {
	KeyId                        string // AWS's spelling
	EncryptionContext            map[string]string
	Plaintext                    []byte
	CiphertextBlob               []byte
	KeySpec                      string
	NumberOfBytes                int
	EncryptionAlgorithm          string
	DryRun                       bool
	SourceKeyId                  string
	SourceEncryptionContext      map[string]string
	DestinationKeyId             string
	DestinationEncryptionContext map[string]string
	PendingWindowInDays          int
	AliasName                    string
	TargetKeyId                  string
}

// operation is one action of KMS. If needsKey is set, the policy's resource is KeyId's key.
type operation struct {
	run      func(*Server, *request) (any, error)
	resource func(*request) string
}

func ofKey(r *request) string    { return r.KeyId }
func ofTarget(r *request) string { return r.TargetKeyId }
func ofNothing(*request) string  { return "" }

var operations = map[string]operation{
	"GenerateDataKey":                 {(*Server).generateDataKey, ofKey},
	"GenerateDataKeyWithoutPlaintext": {(*Server).generateDataKey, ofKey},
	"Encrypt":                         {(*Server).encrypt, ofKey},
	"Decrypt":                         {(*Server).decrypt, ofKey},
	"ReEncrypt":                       {(*Server).reEncrypt, ofNothing},
	"DescribeKey":                     {(*Server).describeKey, ofKey},
	"EnableKey":                       {(*Server).enableKey, ofKey},
	"DisableKey":                      {(*Server).disableKey, ofKey},
	"ScheduleKeyDeletion":             {(*Server).scheduleKeyDeletion, ofKey},
	"CancelKeyDeletion":               {(*Server).cancelKeyDeletion, ofKey},
	"CreateKey":                       {(*Server).createKey, ofNothing},
	"ListKeys":                        {(*Server).listKeys, ofNothing},
	"CreateAlias":                     {(*Server).createAlias, ofTarget},
	"UpdateAlias":                     {(*Server).createAlias, ofTarget},
	"DeleteAlias":                     {(*Server).deleteAlias, ofNothing},
	"ListAliases":                     {(*Server).listAliases, ofNothing},
}

func parse(r *http.Request, body []byte) (action string, op operation, in *request, err error) {
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	op, known := operations[action]
	if r.Method != http.MethodPost || !ok || !known {
		return "", operation{}, nil, &awsfake.Refusal{Status: 400, Code: "UnknownOperationException"}
	}
	in = new(request)
	if err := json.Unmarshal(body, in); err != nil {
		return "", operation{}, nil, &awsfake.Refusal{Status: 400, Code: "SerializationException", Message: err.Error()}
	}
	return action, op, in, nil
}

// classify returns what a request asks for. Here ReEncrypt counts as
// kms:ReEncryptFrom; the operation itself checks kms:ReEncryptTo.
func (s *Server) classify(r *http.Request, body []byte) (awsfake.Call, error) {
	action, op, in, err := parse(r, body)
	if err != nil {
		return awsfake.Call{}, err
	}
	call := awsfake.Call{Action: "kms:" + action, Context: conditions(in.EncryptionContext)}
	id := op.resource(in)
	if action == "ReEncrypt" {
		call.Action, call.Context, id = "kms:ReEncryptFrom", conditions(in.SourceEncryptionContext), in.SourceKeyId
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Resource = s.resource(id, in.CiphertextBlob)
	return call, nil
}

// resource returns the ARN for policies: of the key id or, without one, of the
// ciphertext's key. If there is no such key, it returns what was asked for.
func (s *Server) resource(id string, blob []byte) string {
	if id != "" {
		if k, err := s.find(id); err == nil {
			return k.arn()
		}
		return id
	}
	if k, err := s.keyOf(blob); err == nil {
		return k.arn()
	}
	return "*"
}

// conditions returns the condition keys for an encryption context.
func conditions(context map[string]string) map[string][]string {
	keys := map[string][]string{}
	for name, value := range context {
		keys["kms:EncryptionContext:"+name] = []string{value}
	}
	if len(context) > 0 {
		keys["kms:EncryptionContextKeys"] = slices.Sorted(maps.Keys(context))
	}
	return keys
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, _ awsfake.Call, caller *awsfake.Caller, body []byte) {
	action, op, in, err := parse(r, body)
	if err == nil && action == "ReEncrypt" {
		err = s.allowReEncryptTo(caller, in)
	}
	var out any
	if err == nil {
		s.mu.Lock()
		out, err = op.run(s, in)
		s.mu.Unlock()
	}
	if err != nil {
		refusal, ok := err.(*awsfake.Refusal)
		if !ok {
			refusal = &awsfake.Refusal{Status: 500, Code: "KMSInternalException", Message: err.Error()}
		}
		refuse(w, r, "", refusal)
		return
	}
	if m, ok := out.(map[string]any); ok && action == "GenerateDataKeyWithoutPlaintext" {
		delete(m, "Plaintext")
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate, private")
	if out == nil {
		return // AWS answers some operations with an empty body
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *Server) allowReEncryptTo(caller *awsfake.Caller, in *request) error {
	s.mu.Lock()
	call := awsfake.Call{
		Action: "kms:ReEncryptTo", Resource: s.resource(in.DestinationKeyId, nil),
		Context: conditions(in.DestinationEncryptionContext),
	}
	s.mu.Unlock()
	return caller.Check(call, "AccessDeniedException", http.StatusBadRequest)
}

// refuse writes an error as KMS does: only the type if there is no message.
func refuse(w http.ResponseWriter, _ *http.Request, _ string, refusal *awsfake.Refusal) {
	out := map[string]string{"__type": refusal.Code}
	if refusal.Message != "" {
		out["message"] = refusal.Message
	}
	status := refusal.Status
	if status == http.StatusForbidden || status == 0 {
		status = http.StatusBadRequest // the only status that KMS uses for refusals
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

// errDryRun is KMS's answer to a dry run that would have succeeded.
var errDryRun = &awsfake.Refusal{Status: 400, Code: "DryRunOperationException", Message: "The request would have succeeded, but the DryRun option is set."}

func (s *Server) usableKey(in *request) (*key, error) {
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, errDryRun
	}
	return k, nil
}

func (s *Server) generateDataKey(in *request) (any, error) {
	size := in.NumberOfBytes
	switch {
	case in.KeySpec == "AES_256" && size == 0:
		size = 32
	case in.KeySpec == "AES_128" && size == 0:
		size = 16
	case in.KeySpec != "" || size < 1 || size > maxDataKey:
		return nil, invalid("Please specify either number of bytes or key spec.")
	}
	k, err := s.usableKey(in)
	if err != nil {
		return nil, err
	}
	plaintext := make([]byte, size)
	_, _ = rand.Read(plaintext)
	return map[string]any{
		"CiphertextBlob": k.encrypt(plaintext, in.EncryptionContext), "KeyId": k.arn(),
		"KeyMaterialId": k.materialID(), "Plaintext": plaintext,
	}, nil
}

func (s *Server) encrypt(in *request) (any, error) {
	if len(in.Plaintext) < 1 || len(in.Plaintext) > maxPlaintext {
		return nil, invalid("1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
	}
	k, err := s.usableKey(in)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"CiphertextBlob": k.encrypt(in.Plaintext, in.EncryptionContext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyId": k.arn(),
	}, nil
}

// open decrypts for Decrypt and ReEncrypt. A nonempty id must be the ciphertext's key.
func (s *Server) open(blob []byte, id string, context map[string]string) (*key, []byte, error) {
	if len(blob) < 1 || len(blob) > maxCiphertext {
		return nil, nil, invalid("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144")
	}
	if id != "" {
		named, err := s.find(id)
		if err != nil {
			return nil, nil, err
		}
		if err := named.usable(); err != nil {
			return nil, nil, err
		}
		if made, err := s.keyOf(blob); err == nil && made != named {
			return nil, nil, &awsfake.Refusal{
				Status: 400, Code: "IncorrectKeyException",
				Message: "The key ID in the request does not identify a CMK that can perform this operation.",
			}
		}
	}
	k, err := s.keyOf(blob)
	if err != nil {
		return nil, nil, err
	}
	if err := k.usable(); err != nil {
		return nil, nil, err
	}
	plaintext, err := k.decrypt(blob, context)
	return k, plaintext, err
}

func (s *Server) decrypt(in *request) (any, error) {
	k, plaintext, err := s.open(in.CiphertextBlob, in.KeyId, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, errDryRun
	}
	return map[string]any{
		"EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyId": k.arn(), "KeyMaterialId": k.materialID(),
		"KeyOrigin": "AWS_KMS", "Plaintext": plaintext,
	}, nil
}

func (s *Server) reEncrypt(in *request) (any, error) {
	to, err := s.find(in.DestinationKeyId)
	if err != nil {
		return nil, err
	}
	if err := to.usable(); err != nil {
		return nil, err
	}
	from, plaintext, err := s.open(in.CiphertextBlob, in.SourceKeyId, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, errDryRun
	}
	return map[string]any{
		"CiphertextBlob": to.encrypt(plaintext, in.DestinationEncryptionContext),
		"KeyId":          to.arn(), "SourceKeyId": from.arn(),
		"DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
		"DestinationKeyMaterialId": to.materialID(), "SourceKeyMaterialId": from.materialID(),
	}, nil
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
