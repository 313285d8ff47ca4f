package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"vigil/bench/table"
)

// unit says how a value is written.
type unit int

const (
	seconds unit = iota
	rate         // a second
	size         // bytes
)

func (u unit) format(v float64) string {
	switch u {
	case rate:
		return fmt.Sprintf("%.0f /s", v)
	case size:
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	switch d := time.Duration(v * 1e9); {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.0f µs", v*1e6)
	default:
		return fmt.Sprintf("%.1f ms", v*1e3)
	}
}

// result is what was measured of both agents.
type result struct {
	measure
	values [2][]float64
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// spread is the range of the middle half, as a share of the median.
func spread(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[n-1-n/4] - sorted[n/4]) / sorted[n/2]
}

// report writes the table.
func report(kinds [2]kind, results []result, runs int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %d interleaved runs; medians, ± half the range of the middle half.\n\n", machine(), runs)
	fmt.Fprintf(&b, "| | %s | %s | ratio | goal |\n|---|---:|---:|---:|---|\n", kinds[0].name, kinds[1].name)
	for _, r := range results {
		x, y := middle(r.values[0]), middle(r.values[1])
		fmt.Fprintf(&b, "| %s | %s ±%.0f %% | %s ±%.0f %% | %s | %s |\n", r.name,
			r.unit.format(x), 50*spread(r.values[0]), r.unit.format(y), 50*spread(r.values[1]), ratio(y/x), r.goal)
	}
	return b.String()
}

// ratio writes small ones as fractions, as the goals are.
func ratio(v float64) string {
	if v < 1 {
		return fmt.Sprintf("1/%.1f", 1/v)
	}
	return fmt.Sprintf("%.1f", v)
}

// machine describes what it was measured on.
func machine() string {
	version := "no ssh"
	if out, err := exec.Command("ssh", "-V").CombinedOutput(); err == nil {
		version, _, _ = strings.Cut(strings.TrimSpace(string(out)), ",")
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s, %s, %s", table.Processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), version, time.Now().UTC().Format(time.DateOnly))
}
