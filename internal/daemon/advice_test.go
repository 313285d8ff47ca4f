package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/control"
	"vigil/internal/keyfile"
	"vigil/internal/state"
	"vigil/internal/testing/sshtest"
)

// wantAdvice checks a failure's whole message and advice; … stands for any text.
func wantAdvice(t *testing.T, err error, message, next string) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %q", err, message)
	}
	for got, want := range map[string]string{e.Message: message, e.Next: next} {
		if !regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$").MatchString(got) {
			t.Errorf("it says\n\t%s\nwant\n\t%s", got, want)
		}
	}
}

// doctorSays returns what doctor finds wrong of a kind, as an error.
func (dev *device) doctorSays(what string) error {
	dev.t.Helper()
	for _, c := range must(dev, &control.DoctorRequest{}).Checks {
		if c.What == what {
			return &control.Error{Message: c.Detail, Next: c.Next}
		}
	}
	return fmt.Errorf("doctor doesn't check the %s", what)
}

// problem waits until status shows a problem, and returns it.
func (dev *device) problem() error {
	dev.t.Helper()
	var s control.VaultStatus
	sshtest.Eventually(dev.t, "status shows a problem", func() error {
		if s = dev.status(); s.Problem == "" {
			return errors.New("it shows none")
		}
		return nil
	})
	return &control.Error{Message: s.Problem, Next: s.Next}
}

// blockedBy puts a file in the place of a folder.
func (dev *device) blockedBy(folder string) {
	dev.t.Helper()
	err := errors.Join(os.RemoveAll(folder), os.MkdirAll(filepath.Dir(folder), 0o700), os.WriteFile(folder, nil, 0o600))
	if err != nil {
		dev.t.Fatal(err)
	}
}

// vaultState returns what the device keeps of its vault.
func (dev *device) vaultState() *state.Vault {
	dev.t.Helper()
	names, err := dev.d.state.Names()
	if err != nil {
		dev.t.Fatal(err)
	}
	return dev.d.state.Vault(names["default"])
}

// fails makes a request that fails.
func fails[R any](dev *device, req control.Request[R]) error {
	_, err := send(dev, req)
	return err
}

// request makes an identity on a device, and has a vault's owner admit it in a role; "":
// it isn't admitted.
func (dev *device) request(owner *device, role string) *control.IdentityRequestReply {
	dev.t.Helper()
	r := must(dev, &control.IdentityRequestRequest{Name: "other", KDF: cheap, Passphrase: text(dev.t, passphrase)})
	if role != "" {
		must(owner, &control.IdentityAdmitRequest{Text: r.Text, Words: r.Words, Role: role, Passphrase: text(dev.t, passphrase)})
	}
	return r
}

// files copies the files of a folder, and returns what puts them back.
func (dev *device) files(folder string) (restore func()) {
	dev.t.Helper()
	kept := filepath.Join(dev.t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(folder)); err != nil {
		dev.t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(kept))); err != nil {
			dev.t.Fatal(err)
		}
	}
}

// advice is what a failure says.
type advice struct {
	name          string
	cause         func(dev *device) error
	message, next string
}

// TestAdviceOfWhatIsRefused: requests that leave a vault as it is. It is unlocked, and
// has the key "work".
func TestAdviceOfWhatIsRefused(t *testing.T) {
	long := strings.Repeat("x", 100)
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	for _, tt := range []advice{
		{
			"a name that is none", func(dev *device) error { return fails(dev, &control.RenameRequest{Vault: "default", To: "Not A Name"}) },
			"…", "Choose another name.",
		},
		{"a new vault's name that is none", func(dev *device) error {
			return fails(dev, &control.InitRequest{Vault: "Not A Name", KDF: cheap, Passphrase: text(dev.t, passphrase)})
		}, "…", "Choose another name."},
		{
			"a daemon that isn't hardened, as in this test", func(dev *device) error { return dev.doctorSays("hardening") },
			"the daemon can be read by other programs of its user", "Read the daemon's log; docs/threat-model.md says what each system offers.",
		},
		{"a key that is there", func(dev *device) error {
			k, err := keyfile.Generate("ed25519", 0, "bob@desk")
			if err != nil {
				return err
			}
			defer k.Close()
			file, err := keyfile.MarshalOpenSSH(k.Encoding(), "bob@desk", nil)
			if err != nil {
				return err
			}
			must(dev, &control.AddRequest{KeyFile: text(dev.t, string(file))})
			return fails(dev, &control.AddRequest{Name: "again", KeyFile: text(dev.t, string(file))})
		}, `the key is in vault "default" already, as "bob@desk"`, "`vigilctl show bob@desk` shows it."},
		{"a destination without a host", func(dev *device) error {
			return fails(dev, &control.EditRequest{Key: "work", Destinations: &[]control.Destination{{}}})
		}, "destinations: destination 0: …", "See `vigilctl edit --help`."},
		{"an edit that loosens, without the passphrase", func(dev *device) error {
			must(dev, &control.EditRequest{Key: "work", Confirm: new(true)})
			return fails(dev, &control.EditRequest{Key: "work", Confirm: new(false)})
		}, `this change of key "work" lets it do more: confirm is lifted`, "Nothing was changed. It takes the passphrase of vault default."},
		{"a passphrase that was asked for another change", func(dev *device) error {
			given := control.Consent{Change: "another", Passphrase: text(dev.t, passphrase)}
			return fails(dev, &control.EditRequest{Key: "work", Confirm: new(true), Consent: given})
		}, `key "work" was changed elsewhere meanwhile; nothing was changed here`, "Look at it, and try again."},
		{"every DEK replaced without the passphrase", func(dev *device) error {
			return fails(dev, &control.RotateRequest{Deks: true})
		}, "to re-encrypt every item supersedes every revision", "Nothing was changed. It takes the passphrase of vault default."},
		{"an export without a passphrase", func(dev *device) error {
			out, err := os.Create(filepath.Join(dev.t.TempDir(), "out"))
			if err != nil {
				return err
			}
			defer out.Close()
			return fails(dev, &control.ExportRequest{Key: "work", Passphrase: text(dev.t, passphrase), Output: out})
		}, "an exported key needs a passphrase", "Give a passphrase for the file, or insist with --no-passphrase."},
		{"unlocked before it could be forgotten", func(dev *device) error {
			v, err := dev.d.find("default")
			if err == nil {
				_, err = v.Forget(dev.t.Context())
			}
			return err
		}, `vault "default" was unlocked meanwhile; nothing was changed`, "Run it again."},
		{"a long name for an identity", func(dev *device) error {
			return fails(dev, &control.IdentityRequestRequest{Name: long, KDF: cheap, Passphrase: text(dev.t, passphrase)})
		}, "a name has at most 64 bytes", "Choose a shorter one."},
		{"a request without the vault's file", func(dev *device) error {
			return fails(dev, &control.IdentityRequestRequest{Vault: "elsewhere", KDF: cheap, Passphrase: text(dev.t, passphrase)})
		}, `vault "elsewhere" has no file at …`, "Copy or sync the vault's file to this place first."},
		{"a role that is none", func(dev *device) error {
			return fails(dev, &control.IdentityAdmitRequest{Role: "king", Passphrase: text(dev.t, passphrase)})
		}, `no identity can have the role "king"`, "Give owner, member or reader."},
	} {
		t.Run(tt.name, func(t *testing.T) { wantAdvice(t, tt.cause(dev), tt.message, tt.next) })
	}
}

// TestAdvice causes failures of such a vault, each of one of its own.
func TestAdvice(t *testing.T) {
	name := "x"
	for _, tt := range []advice{
		{
			"too many vaults", func(dev *device) error {
				for n := range maxVaults {
					_, _ = dev.d.findOrAdd(fmt.Sprintf("v%d", n))
				}
				return fails(dev, &control.InitRequest{Vault: "another", KDF: cheap, Passphrase: text(dev.t, passphrase)})
			}, "vigild knows 256 vaults already, the most it takes",
			"Restart the daemon (`vigilctl down`, `vigilctl up`): vaults whose creation failed no longer count then.",
		},
		{
			"a configuration broken since the start", func(dev *device) error {
				dev.configure("[vault.default]\nlaese = \"3h\"\n")
				return dev.doctorSays("config")
			}, "…config.toml:2: unknown key \"vault.default.laese\"…",
			"Correct the line: the daemon still uses what it read at its start, and won't start again.",
		},
		{"a conflict copy that isn't a vault file", func(dev *device) error {
			path := filepath.Join(filepath.Dir(dev.paths.Vault("default")), "vault (conflicted copy).jsonl")
			if err := os.WriteFile(path, []byte("garbage\n"), 0o600); err != nil {
				return err
			}
			return dev.problem()
		}, `take in "…/vault (conflicted copy).jsonl": …`, "Look at the copy, and remove it when nothing in it is needed. The vault works without it."},
		{"a damaged device state", func(dev *device) error {
			if err := dev.vaultState().SetBlob(dev.t.Context(), "identity", []byte("x")); err != nil {
				return err
			}
			return dev.doctorSays("device state")
		}, "read this device's identity: wrong length", "Put this device's state folder back."},
		{"no vault file", func(dev *device) error {
			dev.lock()
			if err := os.Remove(dev.paths.Vault("default")); err != nil {
				return err
			}
			return dev.unlockWith(passphrase)
		}, `vault "default" has no file at …/vault.jsonl`, "Make one: vigilctl up (or vigilctl init)."},
		{"a file in the path of the vault file", func(dev *device) error {
			dev.lock()
			dev.blockedBy(filepath.Dir(dev.paths.Vault("default")))
			return dev.unlockWith(passphrase)
		}, `read vault "default": …: not a directory`, "Nothing was changed. A part of that path is a file and not a folder: check the path."},
		{"a vault that another device made", func(dev *device) error {
			return fails(dev.beside("b"), &control.InitRequest{KDF: cheap, Passphrase: text(dev.t, passphrase)})
		}, `vault "default" is there already: …/vault.jsonl`, "To open another device's vault here, request admission: vigilctl identity request --help."},
		{"a file where what is forgotten goes", func(dev *device) error {
			dev.blockedBy(filepath.Join(dev.paths.Data, "forgotten"))
			return fails(dev, &control.ForgetRequest{Vault: "default"})
		}, `forget vault "default": …: not a directory…`, "Nothing is lost: what was moved is in …/forgotten. Run it again to continue."},
		{"a file where a renamed vault's configuration goes", func(dev *device) error {
			dev.blockedBy(dev.paths.VaultConfigDir())
			return fails(dev, &control.RenameRequest{Vault: "default", To: "job"})
		}, `rename vault "default" to "job": …: not a directory…`, "Nothing is lost. Run it again to continue."},
		{
			"a revision that an older keyring doesn't have", func(dev *device) error {
				restore, path := dev.files(dev.paths.Keyring("default")), dev.paths.Vault("default")
				before, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				newest := must(dev, &control.EditRequest{Key: "work", Comment: &name}).Key.Revision
				after, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				dev.lock()
				_, line, _ := strings.Cut(string(after), "\n")
				if err := os.WriteFile(path, []byte(string(before)+line), 0o600); err != nil {
					return err
				}
				restore()
				must(dev, &control.KeyringRestoreRequest{Accept: true, Passphrase: text(dev.t, passphrase)})
				return fails(dev, &control.RestoreRequest{Key: "work", Revision: newest})
			}, `revision … of key "work" can't be restored: its key is gone from the keyring`,
			"`vigilctl vault history work` shows which can be: superseded revisions keep their key for 30 days.",
		},
		{"the beginning of two revisions", func(dev *device) error {
			revision := must(dev, &control.ShowRequest{Key: "work"}).Key.Revision
			other := revision[:10] + "a" + revision[11:]
			if other == revision {
				other = revision[:10] + "b" + revision[11:]
			}
			path := dev.paths.Vault("default")
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			lines := strings.SplitAfter(string(data), "\n")
			forged := strings.ReplaceAll(lines[1], revision, other)
			if err := os.WriteFile(path, []byte(string(data)+forged), 0o600); err != nil {
				return err
			}
			return fails(dev, &control.RestoreRequest{Key: "work", Revision: revision[:8]})
		}, `"…" names several revisions`, "Give more of it."},
		{"a request for another vault", func(dev *device) error {
			b := dev.beside("b")
			text := b.request(dev, "").Text
			dev.init("second")
			return fails(dev, &control.IdentityReadRequest{Vault: "second", Text: text})
		}, `the request is for another vault than "second"`, "Name the right vault with --vault."},
		{"two identities of one name", func(dev *device) error {
			dev.beside("b").request(dev, "member")
			dev.beside("c").request(dev, "member")
			return fails(dev, &control.IdentityRemoveRequest{Identities: []string{"other"}, Passphrase: text(dev.t, passphrase)})
		}, `"other" matches 2 identities: …, …`, "Name one of them by its id."},
		{"a reader that changes something", func(dev *device) error {
			b := dev.beside("b")
			b.request(dev, "reader")
			b.unlock()
			return fails(b, &control.EditRequest{Key: "work", Comment: &name})
		}, `vault "default": read only: identity may read the vault and not write to it`, "Nothing was changed. An owner can remove this device's identity and admit it again as a member."},
		{"a device that never saw the keyring", func(dev *device) error {
			return fails(dev.beside("b"), &control.KeyringRestoreRequest{Passphrase: text(dev.t, passphrase)})
		}, `this device has kept no keyring of vault "default"`, "Take the backend's with --accept, if that's what you want."},
		{"an older keyring in place", func(dev *device) error {
			restore := dev.files(dev.paths.Keyring("default"))
			dev.generate("two")
			restore()
			return must(dev, &control.RefreshRequest{}).Vaults[0].Error
		}, `vault "default": …`, "Nothing was changed. Somebody put an older or another keyring in place; put the newest one back."},
		{"a file where a new vault goes", func(dev *device) error {
			b := deviceOf(dev.t)
			b.start()
			b.blockedBy(b.paths.Data)
			return fails(b, &control.ReadyRequest{Create: true})
		}, "look at …/vault.jsonl: …: not a directory", "A part of that path is a file and not a folder: check the path. Nothing was changed."},
		{"a file above where a new vault's configuration goes", func(dev *device) error {
			b := deviceOf(dev.t)
			b.start()
			b.blockedBy(b.paths.Config)
			return fails(b, &control.ReadyRequest{Create: true, Backend: "file:///elsewhere"})
		}, "make vault default: …: not a directory…", "A part of that path is a file and not a folder: check the path. Nothing was changed."},
		{"a folder for a new vault's configuration in which nothing may be made", func(dev *device) error {
			b := deviceOf(dev.t)
			b.start()
			b.blockedBy(b.paths.VaultConfigDir()) // a file that isn't executable, also for root
			return fails(b, &control.ReadyRequest{Create: true, Backend: "file:///elsewhere"})
		}, "make vault default: …: permission denied…", "Make it writable: `ls -ld …/vaults.d` shows who may. Nothing was changed."},
		{"a creation that couldn't store its keyring", func(dev *device) error {
			b := deviceOf(dev.t)
			b.start()
			if err := os.MkdirAll(filepath.Join(b.paths.Keyring("default"), "deks"), 0o700); err != nil {
				return err
			}
			if err := fails(b, &control.InitRequest{KDF: cheap, Passphrase: text(dev.t, passphrase)}); err == nil {
				return errors.New("made a vault")
			}
			return b.problem()
		}, "its creation was interrupted", "Continue: vigilctl up (or vigilctl init)."},
		{"a device state that can't be written", func(dev *device) error {
			dev.breakState()
			dev.generate("two")
			if err := sign(dev.agent(), dev.listed()[0]); err != nil {
				return err
			}
			return dev.problem()
		}, `vault "default": remember vault "default": write "…": …not a directory…`, "A part of that path is a file and not a folder: check the path."},
		{"a keeper that was killed in the middle", func(dev *device) error {
			keeper := dev.status().Keeper
			edited := dev.sealing(keeper)
			if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
				return err
			}
			return received(dev.t, "the edit", edited)
		}, `vault "default": …`, "Unlock it again: vigilctl unlock --vault default"},
		{"a key removed elsewhere in the middle", func(dev *device) error {
			b := dev.beside("b")
			b.unlock()
			keeper := dev.status().Keeper
			edited := dev.sealing(keeper)
			must(b, &control.RemoveRequest{Key: "work", Passphrase: text(dev.t, passphrase)})
			if err := syscall.Kill(keeper, syscall.SIGCONT); err != nil {
				return err
			}
			return received(dev.t, "the edit", edited)
		}, `vault "default": the key was deleted elsewhere meanwhile`, "Add it as a new key."},
		{"the daemon's end", func(dev *device) error {
			dev.lock()
			unlocked := dev.unlocking()
			until(dev.t, "the unlock", func() bool { return goroutinesIn("opener.(*Client).do") == 1 })
			dev.stop()
			return received(dev.t, "the unlock", unlocked)
		}, `vault "default": it was interrupted`, "`vigilctl status` shows what state things are in; run it again."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := newDevice(t)
			dev.init("")
			dev.generate("work")
			wantAdvice(t, tt.cause(dev), tt.message, tt.next)
		})
	}
}

// sealing edits the key "work" until its keeper, which it stops, is asked to seal the
// new revision.
func (dev *device) sealing(keeper int) (edited <-chan error) {
	dev.t.Helper()
	if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
		dev.t.Fatal(err)
	}
	until(dev.t, "the keeper has stopped", func() bool { return stopped(keeper) })
	result, comment := make(chan error, 1), "later"
	go func() { result <- fails(dev, &control.EditRequest{Key: "work", Comment: &comment}) }()
	until(dev.t, "the edit", func() bool { return goroutinesIn("keeper.(*Client).SealEdited") == 1 })
	return result
}
