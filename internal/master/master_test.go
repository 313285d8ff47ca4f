package master

import (
	"maps"
	"testing"
)

func TestContext(t *testing.T) {
	good := Context{Vault: [32]byte{1}, Identity: [16]byte{0xff}, Purpose: PurposeUnlock}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"vigil:vault":    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"vigil:identity": "_wAAAAAAAAAAAAAAAAAAAA",
		"vigil:purpose":  "unlock",
	}
	if got := good.Fields(); !maps.Equal(got, want) {
		t.Errorf("Fields() = %v, want %v", got, want)
	}
	for name, bad := range map[string]Context{
		"no vault":        {Identity: good.Identity, Purpose: PurposeUnlock},
		"no identity":     {Vault: good.Vault, Purpose: PurposeUnlock},
		"no purpose":      {Vault: good.Vault, Identity: good.Identity},
		"unknown purpose": {Vault: good.Vault, Identity: good.Identity, Purpose: "laptop of Ann"},
	} {
		if bad.Validate() == nil {
			t.Errorf("%s: Validate accepted it", name)
		}
	}
}
