package attack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vigil/internal/testing/sshtest"
)

// TestAVaultPlantedBySync: a folder that is synced gets vaults that nobody here made, one
// of them with the name that comes first. What has no vault's name stays with the vault
// that is configured, and no passphrase goes to another.
func TestAVaultPlantedBySync(t *testing.T) {
	h := sshtest.NewHome(t, "correct horse battery staple")
	h.Start()
	h.OK(append(h.By("init", "--vault", "work"), sshtest.CheapKDF...)...)
	header := h.Read(h.Path("data/vigil/vaults/work/vault.jsonl"))
	for i := range 300 {
		plant(h, fmt.Sprintf("z%03d", i), header)
	}
	plant(h, "default", []byte(`{"vigil":"vault","version":1,"vault":"`+sshtest.Base64(bytes.Repeat([]byte{1}, 32))+`"}`+"\n"))
	for _, key := range []string{"laptop", "desktop"} {
		s := h.Status()
		if len(s.Vaults) == 0 || s.Vaults[0].Name != "work" || len(s.Vaults) > 40 {
			t.Fatalf("%d vaults are served, %+v first", len(s.Vaults), s.Vaults[0])
		}
		h.Unlock()
		h.AddKey(key)
		h.Signs(key)
		h.Restart()
	}
	h.Fails(sshtest.StatusFailed, []string{"the keyring of vault \"default\" isn't at"}, h.By("unlock", "--vault", "default")...)
}

// plant puts a vault file where the home's vault of that name would be.
func plant(h *sshtest.Home, name string, file []byte) {
	h.Helper()
	path := h.Path(filepath.Join("data/vigil/vaults", name, "vault.jsonl"))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		h.Fatal(err)
	}
}
