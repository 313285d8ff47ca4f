package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/ownership"
	"vigil/internal/words"
)

const (
	// graphicsCard is the memory bandwidth of a fast graphics card, in bytes a second.
	// It bounds guessing at Argon2id, which is made to be bound by memory.
	graphicsCard = 1e12
	// accesses is how often a pass of Argon2id moves each byte of its memory: two blocks
	// are read and one is written (RFC 9106 section 3.2).
	accesses = 3
	// meterPatience is how long a person waits for the estimate, which takes some 50 ms.
	meterPatience = 2 * time.Second
	// suggestedWords are 64 bits of chance.
	suggestedWords = 8
)

// verdict says how long one graphics card takes for 2^bits guesses of this cost. It is good
// for an order of magnitude.
func verdict(bits float64, cost control.KDF) string {
	rate := graphicsCard / (accesses * float64(cost.MemoryMiB) * (1 << 20) * float64(max(1, cost.Time)))
	seconds := math.Exp2(min(bits, 1000)) / rate
	grade := "strong"
	switch {
	case seconds < 30*day: // an hour for a thousand cards
		grade = "weak"
	case seconds < 10_000*year: // ten years for a thousand cards
		grade = "fair"
	}
	return grade + ": one graphics card guesses it in " + roughly(seconds)
}

// paintGrade returns the first word of a verdict.
func paintGrade(grade string) painted {
	return painted{grade, map[string]colour{"weak": bad, "fair": warning, "strong": good}[grade]}
}

// In seconds.
const (
	day  = 24 * 60 * 60
	year = 365 * day
)

// roughly returns a time with one significant digit.
func roughly(seconds float64) string {
	for _, unit := range []struct {
		name  string
		size  float64
		below float64
	}{
		{"second", 1, 60},
		{"minute", 60, 60 * 60},
		{"hour", 60 * 60, day},
		{"day", day, 60 * day},
		{"month", 30 * day, 2 * year},
		{"year", year, 1e6 * year},
	} {
		if seconds >= unit.below {
			continue
		}
		n := math.Round(seconds / unit.size)
		if tens := math.Pow(10, math.Floor(math.Log10(max(1, n)))); tens > 1 {
			n = math.Round(n/tens) * tens
		}
		if n < 1 {
			return "less than a " + unit.name
		}
		return "about " + checkup.Count(int(n), unit.name)
	}
	return "more than a million years"
}

// measure returns what to say of a new passphrase that can be guessed at this cost; "" if
// guessing takes the KMS.
func (a *app) measure(ctx context.Context, pass *secret, cost control.KDF) string {
	if cost.MemoryMiB == 0 {
		return ""
	}
	bits, err := a.bits(ctx, pass)
	if err != nil {
		return fmt.Sprintf("Its strength isn't known: %v", err)
	}
	return verdict(bits, cost)
}

// bits has vigil-meter estimate a passphrase. What that leaves in memory ends with it.
func (a *app) bits(ctx context.Context, pass *secret) (float64, error) {
	vigild, err := a.vigild()
	if err != nil {
		return 0, err
	}
	program := filepath.Join(filepath.Dir(vigild), "vigil-meter")
	if err := ownership.Program(program); err != nil {
		return 0, err
	}
	f, err := pass.pipe()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, meterPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env, cmd.Dir, cmd.Stdin = []string{"GOTRACEBACK=none"}, "/", f
	out, err := cmd.Output()
	if err != nil {
		return 0, errors.New("vigil-meter gave no answer")
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// suggest shows a passphrase that can't be guessed. Nothing keeps it.
func (t *terminal) suggest() error {
	var chance [suggestedWords]byte
	b := make([]byte, 0, suggestedWords*16) // no word is longer
	defer guard.Wipe(b[:cap(b)])
	guard.Do(func() {
		_, _ = rand.Read(chance[:]) // never fails
		for i, c := range chance {
			if i > 0 {
				b = append(b, ' ')
			}
			b = append(b, words.List[c]...)
		}
		guard.Wipe(chance[:])
	})
	b = append(b, '\n')
	t.say("Eight words by chance, 64 bits. Write them down: Vigil doesn't keep them.")
	if _, err := t.f.Write(b); err != nil {
		return fmt.Errorf("show a passphrase: %w", err)
	}
	return nil
}
