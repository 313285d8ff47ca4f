package vault

import (
	"testing"

	"vigil/internal/agentproto"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/policy"
	"vigil/internal/vaultfile"
)

// TestALockedVaultsKeyIsListedAsItWas: with its certificate and its restrictions, and
// without what this device doesn't remember.
func TestALockedVaultsKeyIsListedAsItWas(t *testing.T) {
	to := agentproto.AppendDestinations(nil, []agentproto.Destination{
		{To: agentproto.Hop{Host: "db", Keys: []agentproto.KeySpec{{Blob: []byte("host key")}}}},
	})
	meta := vaultfile.Meta{
		Name: "work", Comment: "alice@laptop", Created: 1, Public: []byte("public key"), Certificate: []byte("certificate"),
		Hosts: []string{"*.example.com"}, Policy: vaultfile.Policy{Confirm: true, Destinations: to}, Tags: []string{"t"},
	}
	text, err := meta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	was := newKey(&keeper.Item{Key: 1, Item: id.NewItem(), Revision: id.NewRevision(), Meta: text})
	public := was.public()
	k := rememberedKey(&public)
	l := k.listed(policy.ApproveForwarded)
	if k.problem != "" || string(l.Blob) != "public key" || string(l.Certificate) != "certificate" || l.Comment != "alice@laptop" ||
		!l.Confirm || len(l.To) != 1 || l.Signer != nil {
		t.Errorf("the agent lists %+v (%s)", l, k.problem)
	}
	shown := k.describe("v", policy.ApproveForwarded)
	if shown.Name != "work" || !shown.Confirm || len(shown.Destinations) != 1 ||
		shown.Created != nil || shown.Hosts != nil || shown.Tags != nil || shown.Revision != was.revision.String() {
		t.Errorf("vigilctl shows %+v", shown)
	}
	public.Destinations = []byte("no constraint")
	if k := rememberedKey(&public); k.problem == "" {
		t.Error("constraints that can't be read restrict nothing")
	}
}
