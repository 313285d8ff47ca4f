//go:build !race

package envelope

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// TestASignalFindsNoKeyInRegisters: promise 4. A signal saves the registers of the
// thread that it stops to ordinary memory, where they stay until the next one. So no
// key may pass through them outside guard.Do. A signal meets a thread that wraps a
// DEK, 150 times, and no DEK may be left in memory that isn't guarded.
func TestASignalFindsNoKeyInRegisters(t *testing.T) {
	if !guard.DoErases {
		t.Skip("this build erases nothing")
	}
	slab, err := guard.NewSlab(8 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer slab.Close()
	kek, dek := alloc(t, slab), alloc(t, slab)
	tid := make(chan int)
	rounds, ended := make(chan struct{}), make(chan error)
	var signalled atomic.Bool
	go func() {
		runtime.LockOSThread()
		defer close(ended)
		tid <- unix.Gettid()
		e := keyring.DEK{}
		for range rounds {
			for !signalled.Load() {
				if err := WrapWaiting(&e, kek, dek, id.Vault{}, id.Identity{}); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}
	}()
	thread := <-tid
	for round := range 150 {
		signalled.Store(false)
		rounds <- struct{}{}
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)          // any moment will do
		if err := unix.Tgkill(os.Getpid(), thread, unix.SIGURG); err != nil { // as the runtime preempts
			t.Fatal(err)
		}
		time.Sleep(20 * time.Microsecond)
		signalled.Store(true)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		// What a signal saved inside guard.Do a collection has overwritten, as the
		// keeper's sweeper asks for.
		runtime.GC()
		runtime.GC()
		if at := found(t, dek); at != "" {
			t.Fatalf("round %d: a DEK is in readable memory at %s", round, at)
		}
	}
	close(rounds)
	<-ended
}

func alloc(t *testing.T, slab *guard.Slab) []byte {
	t.Helper()
	b, err := slab.Alloc(KeySize)
	if err != nil {
		t.Fatal(err)
	}
	if err := NewKey(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// found looks for the first half of a key in this process's memory but where it
// lies itself, and says where it is. It holds no copy of it.
func found(t *testing.T, key []byte) string {
	t.Helper()
	const mask = 0x5a5a5a5a5a5a5a5a
	var half [2]uint64
	for i := range 16 {
		half[i/8] |= uint64(key[i]^0x5a) << (8 * (i % 8))
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	window, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(window) }()
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &rights); err != nil || rights[:2] != "rw" {
			continue
		}
		for ; from < to; from += int64(len(window)) {
			n, _ := mem.ReadAt(window[:min(int64(len(window)), to-from)], from)
			for i := 0; i+16 <= n; i += 8 {
				if binary.LittleEndian.Uint64(window[i:])^mask == half[0] && binary.LittleEndian.Uint64(window[i+8:])^mask == half[1] {
					return fmt.Sprintf("%x: %s", from+int64(i), lines.Text())
				}
			}
		}
	}
	return ""
}
