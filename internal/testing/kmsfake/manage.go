package kmsfake

import (
	"maps"
	"slices"
	"strings"
	"time"

	"vigil/internal/testing/awsfake"
)

// defaultWindow is how many days KMS waits before it deletes a key.
const defaultWindow = 30

func (k *key) metadata() map[string]any {
	m := map[string]any{
		"AWSAccountId": awsfake.Account, "KeyId": k.id, "Arn": k.arn(), "CreationDate": seconds(k.created),
		"Description": "", "Enabled": k.state == Enabled, "KeyManager": "CUSTOMER", "KeySpec": k.spec,
		"CustomerMasterKeySpec": k.spec, "KeyState": k.state, "KeyUsage": k.usage, "MultiRegion": false, "Origin": "AWS_KMS",
	}
	if k.usage == "ENCRYPT_DECRYPT" {
		m["EncryptionAlgorithms"] = []string{"SYMMETRIC_DEFAULT"}
		m["CurrentKeyMaterialId"] = k.materialID()
	}
	if k.state == PendingDeletion {
		m["DeletionDate"] = seconds(k.deletion)
	}
	return m
}

func (s *Server) describeKey(in *request) (any, error) {
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyMetadata": k.metadata()}, nil
}

func (s *Server) createKey(*request) (any, error) {
	return map[string]any{"KeyMetadata": s.create().metadata()}, nil
}

func (s *Server) enableKey(in *request) (any, error)  { return s.turn(in, Enabled) }
func (s *Server) disableKey(in *request) (any, error) { return s.turn(in, Disabled) }

func (s *Server) turn(in *request, state string) (any, error) {
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	if k.state == PendingDeletion {
		return nil, invalidState(k.arn() + " is pending deletion.")
	}
	k.state = state
	return nil, nil
}

func (s *Server) scheduleKeyDeletion(in *request) (any, error) {
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	if k.state == PendingDeletion {
		return nil, invalidState(k.arn() + " is pending deletion.")
	}
	days := in.PendingWindowInDays
	if days == 0 {
		days = defaultWindow
	}
	k.state, k.deletion = PendingDeletion, s.service.Cloud.Now().Add(time.Duration(days)*24*time.Hour)
	return map[string]any{
		"KeyId": k.arn(), "KeyState": k.state, "DeletionDate": seconds(k.deletion), "PendingWindowInDays": days,
	}, nil
}

func (s *Server) cancelKeyDeletion(in *request) (any, error) {
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	if k.state != PendingDeletion {
		return nil, invalidState(k.arn() + " is not pending deletion.")
	}
	k.state = Disabled // as in AWS
	return map[string]any{"KeyId": k.arn()}, nil
}

func (s *Server) listKeys(*request) (any, error) {
	keys := []map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(s.keys)) {
		keys = append(keys, map[string]string{"KeyId": id, "KeyArn": s.keys[id].arn()})
	}
	return map[string]any{"Keys": keys, "Truncated": false}, nil
}

func (s *Server) createAlias(in *request) (any, error) {
	if !strings.HasPrefix(in.AliasName, "alias/") || strings.HasPrefix(in.AliasName, "alias/aws/") {
		return nil, &awsfake.Refusal{Status: 400, Code: "InvalidAliasNameException", Message: "Alias must start with the prefix \"alias/\". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"}
	}
	k, err := s.find(in.TargetKeyId)
	if err != nil {
		return nil, err
	}
	s.aliases[in.AliasName] = k.id
	return nil, nil
}

func (s *Server) deleteAlias(in *request) (any, error) {
	if _, ok := s.aliases[in.AliasName]; !ok {
		return nil, notFound("Alias " + arnPrefix + in.AliasName + " is not found.")
	}
	delete(s.aliases, in.AliasName)
	return nil, nil
}

func (s *Server) listAliases(*request) (any, error) {
	aliases := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.aliases)) {
		aliases = append(aliases, map[string]any{
			"AliasArn": arnPrefix + name, "AliasName": name, "TargetKeyId": s.aliases[name],
			"CreationDate": seconds(s.service.Cloud.Now()), "LastUpdatedDate": seconds(s.service.Cloud.Now()),
		})
	}
	return map[string]any{"AliasCount": len(aliases), "Aliases": aliases, "Truncated": false}, nil
}
