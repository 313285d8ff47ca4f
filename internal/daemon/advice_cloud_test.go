package daemon

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/opener"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
)

// cloudDevice is a device whose keyring is in an emulated bucket.
func cloudDevice(t *testing.T) (dev *device, cloud *awsfake.Cloud, disconnect func()) {
	t.Helper()
	cloud = awsfake.New()
	cloud.AddUser("alice").Setenv(t)
	s3 := httptest.NewServer(s3fake.New(cloud, "keyrings"))
	t.Cleanup(s3.Close)
	dev = newDevice(t)
	must(dev, &control.InitRequest{
		Backend: "s3://keyrings/team?endpoint=" + url.QueryEscape(s3.URL), KDF: cheap, Unlock: true, Passphrase: text(t, passphrase),
	})
	return dev, cloud, s3.Close
}

// TestAdviceAboutTheTimeWithoutNetwork: what doctor says of the kept share and the clock.
func TestAdviceAboutTheTimeWithoutNetwork(t *testing.T) {
	dev, _, disconnect := cloudDevice(t)
	st := dev.vaultState()
	kept, err := st.Blob("share")
	if err != nil {
		t.Fatal(err)
	}
	keep := func(name string, data []byte) {
		t.Helper()
		if err := st.SetBlob(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.DropBlob(t.Context(), "share"); err != nil {
		t.Fatal(err)
	}
	wantAdvice(t, dev.doctorSays("offline unlock"), "not possible: no share is kept", "vigilctl unlock with network keeps a share for 7d.")
	keep("share", []byte("{"))
	wantAdvice(t, dev.doctorSays("offline unlock"), "the kept share can't be read: …", "vigilctl unlock with network replaces it.")
	expired, err := json.Marshal(opener.KeptShare{Expires: time.Now().Add(-time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	keep("share", expired)
	wantAdvice(t, dev.doctorSays("offline unlock"), "the kept share expired at …", "vigilctl unlock with network keeps a new one.")

	keep("clock", binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(time.Hour).Unix())))
	wantAdvice(t, dev.doctorSays("clock"), "it shows …, and showed … before: it was set back",
		"Set this machine's clock; the next unlock with network takes it as it is.")
	keep("clock", binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())))

	keep("share", kept)
	dev.lock()
	disconnect()
	dev.unlock()
	wantAdvice(t, dev.doctorSays("lease"), "unlocked without network, until … at most", "vigilctl refresh, once there is a network.")

	dev.end()
	dev.configure("[vault.default]\noffline = \"0\"\n")
	dev.start()
	wantAdvice(t, dev.doctorSays("offline unlock"), "switched off, but an earlier share is still kept; it isn't used", "vigilctl unlock drops it.")
}

// TestAdviceAboutAMoveThatWasInterrupted between the keyring and the configuration.
func TestAdviceAboutAMoveThatWasInterrupted(t *testing.T) {
	dev, cloud, _ := cloudDevice(t)
	kms := kmsfake.New(cloud)
	server := httptest.NewServer(kms)
	t.Cleanup(server.Close)
	to := "awskms:///" + kms.CreateKey("alias/vigil") + "?endpoint=" + url.QueryEscape(server.URL)
	folder := dev.paths.VaultConfigDir()
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	dev.blockedBy(folder)
	if err := fails(dev, &control.MasterSetRequest{Master: to, Passphrase: text(t, passphrase)}); err == nil {
		t.Fatal("moved")
	}
	dev.lock()
	wantAdvice(t, dev.unlockWith(passphrase), "…",
		"A move to another master key was interrupted. Finish it: vigilctl master set --vault default '"+to+"'")
	if err := errors.Join(os.Remove(folder), os.Rename(folder+".away", folder)); err != nil {
		t.Fatal(err)
	}
	must(dev, &control.MasterSetRequest{Master: to, Passphrase: text(t, passphrase)})
	dev.unlock()
}
