// Kms measures what a vault's size costs at a KMS: the calls and the time to
// unlock and to list vaults of several sizes, beside a store that asks the KMS
// once for every secret, as sops does for every file and a parameter store for
// every parameter.
//
//	make bench-kms                       10, 1,000 and 10,000 keys
//	go run ./bench/kms -sizes 10,100     others
//
// KMS and S3 are this repository's emulators, in this process, whose answers are
// held back by -latency: nothing else of a network is in the figures. The binaries
// are those of bin/ (make build).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"vigil/bench/table"
)

func main() {
	sizes := flag.String("sizes", "10,1000,10000", "how many keys the vaults have")
	latency := flag.Duration("latency", 20*time.Millisecond, "how long KMS and S3 take for an answer")
	runs := flag.Int("runs", 5, "how often each time is measured; the median counts")
	calls := flag.Int("calls", 1000, "how many calls of the store that asks for every secret are made at most; the rest is computed")
	update := flag.String("update", "", "also write the table into this file, between its marks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *sizes, *latency, *runs, *calls, *update); err != nil {
		fmt.Fprintln(os.Stderr, "bench/kms:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sizes string, latency time.Duration, runs, calls int, update string) error {
	if runs < 1 || calls < 1 {
		return errors.New("-runs and -calls are at least 1")
	}
	var rows []row
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-sizes: %q is no number of keys", text)
		}
		fmt.Fprintf(os.Stderr, "a vault of %d keys …\n", n)
		r, err := measure(ctx, n, latency, runs, calls)
		if err != nil {
			return fmt.Errorf("a vault of %d keys: %w", n, err)
		}
		rows = append(rows, r)
	}
	text := report(rows, latency, runs, calls)
	fmt.Print(text)
	if update == "" {
		return nil
	}
	return table.WriteInto(update, "bench-kms", text)
}
