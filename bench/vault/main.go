// Vault measures what a vault costs as it grows: to unlock, to list, to lock, to
// add one key, and the memory of each key, with the local master and the file
// backend. Vaults are filled behind vigilctl's back, as adding keys one by one
// would take longer than anything measured here.
//
//	make bench-vault
//	go run ./bench/vault -keys 100,10000 -runs 3
//
// Nothing here passes or fails; docs/performance.md keeps the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"vigil/bench/table"
)

func main() {
	sizes := flag.String("keys", "1,100,1000,10000", "numbers of keys")
	runs := flag.Int("runs", 7, "how often each is measured")
	update := flag.String("update", "", "also write the table into this file, between its marks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *sizes, *runs, *update); err != nil {
		fmt.Fprintln(os.Stderr, "bench/vault:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sizes string, runs int, update string) error {
	var rows []row
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return errors.New("-keys: numbers of keys, with commas between them")
		}
		fmt.Fprintf(os.Stderr, "%d keys …\n", n)
		r, err := measure(ctx, n, runs)
		if err != nil {
			return fmt.Errorf("%d keys: %w", n, err)
		}
		rows = append(rows, r)
	}
	text := report(rows, runs)
	fmt.Print(text)
	if update == "" {
		return nil
	}
	return table.WriteInto(update, "bench-vault", text)
}

// report writes the table.
func report(rows []row, runs int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s/%s, %s, %s; medians of %d.\n\n", table.Processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), time.Now().UTC().Format(time.DateOnly), runs)
	b.WriteString("| keys | unlock | of it Argon2id¹ | lock | `vigilctl list` | ssh lists | first signature | add one key | reload² | front | keeper |\n")
	b.WriteString("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.keys, ms(r.unlock), ms(r.argon), ms(r.lock), ms(r.list),
			ms(r.agentList), ms(r.sign), ms(r.add), ms(r.reload), mib(r.front), mib(r.keeper))
	}
	b.WriteString("\n¹ A derivation alone in a process that has derived before, in the same minute. ")
	b.WriteString("² From the moment when another program has put a changed vault file in place.\n")
	first, last := rows[0], rows[len(rows)-1]
	if n := int64(last.keys - first.keys); n > 0 {
		fmt.Fprintf(&b, "\nOne more key costs %.1f KiB in the front and %.1f KiB in the keeper, resident.\n",
			float64(last.front-first.front)/float64(n)/1024, float64(last.keeper-first.keeper)/float64(n)/1024)
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
