package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"vigil/internal/config"
	"vigil/internal/control"
)

func TestUnlockStates(t *testing.T) {
	b := newBench(t).withDaemon()
	if r := b.ok("unlock"); !strings.Contains(r.out, "was unlocked already") {
		t.Errorf("unlocked: %s", r.out)
	}
	b.daemon.become(control.VaultMissing)
	b.fails(1, "there is no vault default", "unlock")
	b.daemon.become(control.VaultDamaged)
	b.fails(1, "vault default", "unlock")
	b.fails(1, "there is no vault other", "unlock", "--vault", "other")
}

func TestTheDefaultVaultsName(t *testing.T) {
	if defaultVault != config.DefaultVault {
		t.Errorf("%q here, %q in the config", defaultVault, config.DefaultVault)
	}
}

func TestInitNeverReplaces(t *testing.T) {
	b := newBench(t).withDaemon()
	pass := b.file("pass", "new one")
	b.fails(1, "nothing was changed", "init", "--passphrase-file", pass)
	b.daemon.become(control.VaultMissing)
	b.ok("init", "--passphrase-file", pass, "--kdf-memory", "512", "--master", "local")
	got := b.last().(*control.InitRequest)
	if got.KDF.MemoryMiB != 512 || got.Master != "local" || got.Unlock || b.seen("passphrase") != "new one" {
		t.Errorf("request %+v with %q", got, b.seen("passphrase"))
	}
}

func TestOutputCannotCommandTheTerminal(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "evil\x1b]0;x\x07", "--comment", "a\nb\u202e")
	b.daemon.failWith(&control.RefreshRequest{}, control.Errorf(control.CodeFailed, "do\x1b[2J", "bad\x07 thing\nline two"))
	for _, r := range []result{b.ok("list"), b.ok("why"), b.run("refresh")} {
		if strings.ContainsAny(r.out+r.errors, "\x1b\x07\u202e") {
			t.Errorf("%q", r.out+r.errors)
		}
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	out := newBench(t).withDaemon().ok("status").out
	for _, want := range []string{"vault default: unlocked", "can be read by other programs of this user", "KMS calls: 0 GenerateDataKey"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

func TestStatusTellsWhereTheShellLeads(t *testing.T) {
	b := newBench(t).withDaemon()
	shell := b.environ
	var st control.StatusReply
	if err := json.Unmarshal([]byte(b.ok("status", "--json").out), &st); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]string{
		"":             "SSH_AUTH_SOCK isn't set in this shell: eval",
		"/nowhere":     "SSH_AUTH_SOCK in this shell leads to /nowhere, served by nobody, not to Vigil",
		st.AgentSocket: "",
	} {
		b.environ = append(shell[:len(shell):len(shell)], "SSH_AUTH_SOCK="+socket)
		if out := b.ok("status").out; !strings.Contains(out, want) || want == "" && strings.Contains(out, "SSH_AUTH_SOCK") {
			t.Errorf("with %q:\n%s", socket, out)
		}
	}
}

func TestStatusTellsOfAnUnfinishedRotation(t *testing.T) {
	var human strings.Builder
	printVault(&human, control.VaultStatus{Name: "v", State: control.VaultUnlocked, Rotation: "KEK 2 was made: vigilctl rotate"})
	if !strings.Contains(human.String(), "\n  rotation KEK 2 was made: vigilctl rotate\n") {
		t.Errorf("printed %q", human.String())
	}
}

func TestRefreshReportsEveryVaultAndFailsWithTheFirstFailure(t *testing.T) {
	r := newBench(t).withDaemon().fails(6, "vault team: no answer from s3", "refresh")
	if r.out != "vault default: nothing new (epoch 4)\nvault team: not refreshed\n" {
		t.Errorf("printed %q", r.out)
	}
}

func TestRefreshFailure(t *testing.T) {
	good := control.RefreshResult{Vault: "a"}
	locked := control.RefreshResult{Vault: "b", Error: control.Errorf(control.CodeLocked, "", "vault %q is locked", "b")}
	down := control.RefreshResult{Vault: "c", Error: control.Errorf(control.CodeUnreachable, "", "no answer")}
	for name, tt := range map[string]struct {
		results []control.RefreshResult
		want    string
	}{
		"all is well":                    {[]control.RefreshResult{good}, ""},
		"locked beside one that is open": {[]control.RefreshResult{locked, good}, ""},
		"all locked":                     {[]control.RefreshResult{locked}, `vault "b" is locked`},
		"locked and unreachable":         {[]control.RefreshResult{locked, down, good}, "vault c: no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if e := refreshFailure(tt.results); e != nil {
				got = e.Message
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVersionWithAndWithoutADaemon(t *testing.T) {
	b := newBench(t)
	if out := b.ok("version").out; !strings.Contains(out, "vigild is not running") {
		t.Error(out)
	}
	if out := b.withDaemon().ok("version").out; !strings.Contains(out, "vigild 1 (build") {
		t.Error(out)
	}
}

func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	b := newBench(t).withDaemon()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	b.stdout = full
	b.fails(1, "write to standard output", "status")
}

func TestExportLinesAreReadByTheirShells(t *testing.T) {
	for _, socket := range []string{"/run/user/1000/vigil/agent.sock", "/tmp/it's a $HOME `x` \\ \"y\"/s"} {
		for _, shell := range []string{"sh", "bash", "zsh", "fish", "csh"} {
			path, err := exec.LookPath(shell)
			if err != nil || strings.Contains(socket, "'") && shell == "csh" {
				continue
			}
			line, err := exportLine(shell, socket)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "-c", line+` printenv SSH_AUTH_SOCK`).Output()
			if err != nil || string(out) != socket+"\n" {
				t.Errorf("%s reads %s as %q, %v", shell, line, out, err)
			}
		}
	}
}

func TestEnvNeedsNoDaemon(t *testing.T) {
	b := newBench(t)
	if out := b.ok("env").out; out != "export SSH_AUTH_SOCK="+b.paths.AgentSocket()+";\n" {
		t.Error(out)
	}
	b.environ = append(b.environ, "SHELL=/bin/tcsh")
	if out := b.ok("env").out; !strings.HasPrefix(out, "setenv ") {
		t.Error(out)
	}
}
