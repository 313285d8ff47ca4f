package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"vigil/bench/table"
)

// report writes the table.
func report(rows []row, latency time.Duration, runs, calls int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s/%s, %s, %s; medians of %d; Argon2id at its default (256 MiB, 3 passes, 4 lanes); "+
		"KMS and S3 are emulators on this machine that take %v for every answer.\n\n",
		table.Processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), time.Now().UTC().Format(time.DateOnly), runs, latency)
	if load := loadAverage(); load != "" {
		fmt.Fprintf(&b, "Load average when it ended: %s, of which this run is about 1.\n\n", load)
	}
	b.WriteString("| keys | unlock: KMS calls | S3 reads | time | of it Argon2id | list: KMS calls | `vigilctl list` | by the agent | first signature | a KMS call for every secret: calls | time |\n")
	b.WriteString("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range rows {
		single := text(r.single)
		if r.singleCalls < r.keys {
			single = "~" + text(r.single*time.Duration(r.keys)/time.Duration(r.singleCalls))
		}
		fmt.Fprintf(&b, "| %d | %d | %d | %s | %s | %d | %s | %s (%d) | %s | %d | %s |\n", r.keys, r.unlockCalls, r.unlockGets, text(r.unlock), text(r.argon),
			r.listCalls, text(r.list), text(r.agentList), r.listed, text(r.sign), r.keys, single)
	}
	fmt.Fprintf(&b, "\nThe agent lists 2,048 keys at most, as many as OpenSSH's clients take. The last two columns are Decrypt calls one after "+
		"another over one connection, as sops makes one for every file; above %d calls the time is computed (~).\n", calls)
	return b.String()
}

func text(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1e3)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// loadAverage is the system's over the last minute, or "".
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
