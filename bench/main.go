// Bench measures vigild beside the system's ssh-agent: the same keys, the same
// client, over their sockets, in runs that take turns, on the machine it is
// started on. It prints medians and their ratios as a Markdown table.
//
//	make bench                        all of it, with seven runs
//	go run ./bench -runs 3 -only list some of it
//	go run ./bench -same              ssh-agent beside itself: what the noise is
//
// Nothing here passes or fails; docs/performance.md keeps the figures and says
// which were to be reached.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"vigil/bench/table"
)

func main() {
	runs := flag.Int("runs", 7, "how often each agent is measured")
	only := flag.String("only", "", "measure only what matches this pattern")
	same := flag.Bool("same", false, "measure ssh-agent beside itself, to see the noise")
	window := flag.Duration("window", 300*time.Millisecond, "how long one measurement of a latency or a rate takes")
	update := flag.String("update", "", "also write the table into this file, between its bench marks")
	flag.Parse()
	if err := run(*runs, *only, *same, *window, *update); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs int, only string, same bool, window time.Duration, update string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/tmp", "vb") // short: sockets lie in it
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kinds, err := choose(same)
	if err != nil {
		return err
	}
	keys, err := makeKeys()
	if err != nil {
		return err
	}
	b := &bench{dir: dir, kinds: kinds, keys: keys, window: window}
	defer b.stopAll()

	var results []result
	for _, m := range measures {
		if !pattern.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", m.name)
		r := result{measure: m}
		for i := range runs {
			// Every other run goes the other way round, so that neither agent is
			// always the one that finds the caches warm.
			for j := range kinds {
				k := (i + j) % len(kinds)
				value, err := m.take(b, k)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", m.name, kinds[k].name, err)
				}
				r.values[k] = append(r.values[k], value)
			}
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("no measurement matches %q", only)
	}
	text := report(kinds, results, runs)
	fmt.Print(text)
	if update != "" {
		return table.WriteInto(update, "bench", text)
	}
	return nil
}

// choose returns the two agents to measure.
func choose(same bool) ([2]kind, error) {
	var kinds [2]kind
	if _, err := exec.LookPath("ssh-agent"); err != nil {
		return kinds, err
	}
	kinds[0] = openSSH("ssh-agent")
	if same {
		kinds[1] = openSSH("ssh-agent again")
		return kinds, nil
	}
	binary, err := filepath.Abs("bin/vigild")
	if err != nil {
		return kinds, err
	}
	if _, err := os.Stat(binary); err != nil {
		return kinds, errors.Join(errors.New("bin/vigild is not built (make build), and -same not given"), err)
	}
	kinds[1] = vigild(binary)
	return kinds, nil
}
