package attack

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/testing/sshtest"
)

// measured is one flood's row in docs/performance.md.
type measured struct {
	name  string
	flood func(t *testing.T, a *asking) (end func())
}

// TestMeasureFloods prints the table of docs/performance.md, "Under attack". It
// asserts nothing, and runs only when MEASURE_FLOODS is set.
func TestMeasureFloods(t *testing.T) {
	if os.Getenv("MEASURE_FLOODS") == "" {
		t.Skip("set MEASURE_FLOODS=1 to measure")
	}
	body := bytes.Repeat([]byte{1}, agentproto.MaxMessage-2)
	var rows []string
	for _, m := range []measured{
		{"nothing", func(*testing.T, *asking) func() { return func() {} }},
		{"100 keys that don't end", func(_ *testing.T, a *asking) func() {
			return flood(a.Home, 100, begin(agentproto.MsgAddIdentity, agentproto.MaxMessage, []byte("\x00\x00\x00")))
		}},
		{"2,000 requests of 256 KiB that don't end", func(_ *testing.T, a *asking) func() {
			return flood(a.Home, 2000, begin(agentproto.MsgSignRequest, agentproto.MaxMessage, body))
		}},
		{"300 requests that ask the owner", func(_ *testing.T, a *asking) func() { return flood(a.Home, 300, a.sign) }},
		{"50 connections that have RSA-4096 sign", rsaFlood},
		{"broken messages, for 10 s", brokenFlood},
		{"200 silent control connections", func(_ *testing.T, a *asking) func() {
			together(200, func() { _, _ = connect(a.Home, false, patience) })
			return func() {}
		}},
		{"100 exports whose passphrase doesn't come", func(t *testing.T, a *asking) func() {
			silent, _ := pipe(t, "")
			_, out := pipe(t, "")
			together(100, func() { export(a.Home, "mine", silent, out) })
			return func() {}
		}},
	} {
		t.Run(m.name, func(t *testing.T) { rows = append(rows, m.measure(t)) })
	}
	t.Logf("\n| flood | front | 10 s later | keepers | questions shown | log | `ssh-add` | a signature | `vigilctl lock` |\n"+
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|\n%s", strings.Join(rows, "\n"))
}

// rsaFlood has 50 connections sign with RSA-4096 all the time.
func rsaFlood(t *testing.T, a *asking) func() {
	key := a.Path("rsa")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-C", "rsa", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := program(a.Home, "ssh-add", "-q", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	request := signRequest(t, a.Home, "rsa")
	request[len(request)-1] = agentproto.FlagRSASHA256
	stop := make(chan struct{})
	var signing sync.WaitGroup
	for range 50 {
		conn := dial(a.Home)
		signing.Go(func() {
			reply := make([]byte, 4+1+4+1000)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = conn.SetDeadline(time.Now().Add(soon))
				if _, err := conn.Write(request); err != nil {
					return
				}
				if _, err := conn.Read(reply); err != nil {
					return
				}
			}
		})
	}
	return func() { close(stop); signing.Wait() }
}

// brokenFlood breaks the protocol on one connection after another.
func brokenFlood(_ *testing.T, a *asking) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			conn := dial(a.Home)
			_, _ = conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 11})
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	time.Sleep(10 * time.Second)
	return func() { close(stop); <-done }
}

func (m measured) measure(t *testing.T) string {
	a := newAsking(t)
	a.AddKey("quiet") // doesn't ask
	added := a.Path("added")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", added).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	front := a.Agent.Process.Pid
	stop, watched := make(chan struct{}), make(chan struct{})
	var most, mostKeepers int64
	go func() {
		defer close(watched)
		for {
			most = max(most, resident(t, front))
			var sum int64
			for _, pid := range keepers(a.Home) {
				if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
					var all, pages int64
					_, _ = fmt.Sscan(string(text), &all, &pages)
					sum += pages * int64(os.Getpagesize())
				}
			}
			mostKeepers = max(mostKeepers, sum)
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	end := m.flood(t, a)
	add := timed(program(a.Home, "ssh-add", "-q", added))
	sign := timed(signing(a.Home, "quiet"))
	_, standing := a.asked()
	lock := timed(program(a.Home, sshtest.Binary(t, "vigilctl"), "lock"))
	end()
	close(stop)
	<-watched
	time.Sleep(10 * time.Second)
	var log int64
	names, _ := filepath.Glob(a.Agent.LogFile + "*")
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			log += info.Size()
		}
	}
	return fmt.Sprintf("| %s | %.0f MiB | %.0f MiB | %.0f MiB | %d | %d KiB | %s | %s | %s |", m.name, mib(most), mib(resident(t, front)),
		mib(mostKeepers), len(standing), log>>10, add, sign, lock)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// timed runs a program of the owner's and says how long it took, or that it failed.
func timed(cmd *exec.Cmd) string {
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	late := time.AfterFunc(40*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case took >= 40*time.Second:
		return "> 40 s"
	case err != nil:
		return fmt.Sprintf("fails (%v)", took)
	}
	return took.String()
}
