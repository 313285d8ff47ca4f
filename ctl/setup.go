package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

// firstKeyName is the name of the key that a first run makes.
const firstKeyName = "id_ed25519"

// keys gives a vault its first keys: it imports those that the user or --import
// chose, and makes one if the vault still has none. After the first run it does
// nothing unless --import names files. It returns the first failed import's error.
func (u *up) keys(ctx context.Context, v *control.VaultStatus) error {
	first := u.marked(v.Name)
	if !first && len(u.imports) == 0 {
		return nil
	}
	paths, err := u.choose(ctx, first)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := u.importKey(ctx, v.Name, path); err != nil {
			return err
		}
	}
	if !first {
		return u.importFailure()
	}
	if err := u.generateFirst(ctx, v); err != nil {
		return err
	}
	if err := u.unmark(v.Name); err != nil {
		return err
	}
	return u.importFailure()
}

// choose returns the key files to import.
func (u *up) choose(ctx context.Context, first bool) ([]string, error) {
	switch {
	case len(u.imports) == 1 && u.imports[0] == "none":
		return nil, nil
	case len(u.imports) == 1 && u.imports[0] == "all":
		return pathsOf(u.sshKeys()), nil
	case len(u.imports) > 0:
		return u.imports, nil
	}
	found := u.sshKeys()
	if !first || len(found) == 0 {
		return nil, nil
	}
	t, err := u.openTerminal()
	if err != nil {
		return nil, nil //nolint:nilerr // nobody to ask: none is imported
	}
	defer t.close()
	return offer(ctx, t, found)
}

// offer lists key files and asks which to import.
func offer(ctx context.Context, t *terminal, found []keyFile) ([]string, error) {
	t.say("Private keys found:")
	for i, f := range found {
		how := "with a passphrase"
		if f.plaintext {
			how = "without a passphrase"
		}
		t.say("  %d  %s (%s)", i+1, f.path, how)
	}
	for {
		line, err := t.readLine(ctx, "Import which? all, none (a new key is made), or numbers [all]: ")
		if err != nil {
			return nil, err
		}
		chosen, err := pick(line, found)
		if err == nil {
			return pathsOf(chosen), nil
		}
		t.say("%v", err)
	}
}

// pick reads an answer to offer.
func pick(line string, found []keyFile) ([]keyFile, error) {
	switch strings.ToLower(line) {
	case "", "a", "all", "y", "yes":
		return found, nil
	case "n", "no", "none":
		return nil, nil
	}
	var chosen []keyFile
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' }) {
		i, err := strconv.Atoi(word)
		if err != nil || i < 1 || i > len(found) {
			return nil, fmt.Errorf("%s is not a number from 1 to %d", strconv.Quote(word), len(found))
		}
		chosen = append(chosen, found[i-1])
	}
	return chosen, nil
}

func pathsOf(files []keyFile) []string {
	var paths []string
	for _, f := range files {
		paths = append(paths, f.path)
	}
	return paths
}

// sshKeys returns the private key files in ~/.ssh.
func (u *up) sshKeys() []keyFile {
	if u.paths.Home == "" {
		return nil
	}
	return findKeyFiles(filepath.Join(u.paths.Home, ".ssh"))
}

// importKey imports one key file. It returns an error only if the others can't be
// imported either: for an interruption or a lost daemon.
func (u *up) importKey(ctx context.Context, vault, path string) error {
	reply, err := u.addKey(ctx, path, control.AddRequest{Vault: vault, Name: filepath.Base(path)}, keyPassphrase())
	if err == nil {
		u.saved(reply.Saved)
		u.say("imported %s", keyLine(reply.Key))
		u.result.Imported = append(u.result.Imported, reply.Key)
		return nil
	}
	e := asError(err)
	switch e.Code {
	case control.CodeInterrupted, control.CodeNoDaemon, control.CodeLocked:
		return e
	case control.CodeExists: // imported by an earlier run that was interrupted
		u.say("%s: %s", path, e.Message)
		return nil
	}
	u.say("not imported: %s: %s", path, e.Message)
	u.result.Failed = append(u.result.Failed, failedImport{path, e})
	return nil
}

// importFailure returns the first error of a run in which an import failed.
func (u *up) importFailure() error {
	if len(u.result.Failed) == 0 {
		return nil
	}
	f := u.result.Failed[0]
	return control.Errorf(f.Error.Code, "`vigilctl add FILE` tries again. Everything else is done.",
		"%s not imported; the first is %s: %s", checkup.Count(len(u.result.Failed), "key"), f.Path, f.Error.Message)
}

// generateFirst makes a key if the vault has none.
func (u *up) generateFirst(ctx context.Context, v *control.VaultStatus) error {
	list, err := call(ctx, u.app, &control.ListRequest{Vault: v.Name})
	if err != nil || len(list.Keys) > 0 {
		return err
	}
	reply, err := call(ctx, u.app, &control.GenerateRequest{
		Vault: v.Name, Name: firstKeyName, Type: "ed25519",
	})
	var e *control.Error
	if errors.As(err, &e) && e.Code == control.CodeExists {
		return nil
	}
	if err != nil {
		return err
	}
	u.saved(reply.Saved)
	u.say("made %s", keyLine(reply.Key))
	u.say("The line for a server's authorized_keys:\n%s", authorizedKey(reply.Key))
	u.result.Generated = &reply.Key
	return nil
}

// namePlaintext names the plaintext private keys in ~/.ssh.
func (u *up) namePlaintext(first bool) {
	for _, f := range u.sshKeys() {
		if f.plaintext {
			u.result.Plaintext = append(u.result.Plaintext, f.path)
		}
	}
	if !first || len(u.result.Plaintext) == 0 {
		return
	}
	u.say("These private keys are still on disk without a passphrase. Vigil doesn't change them. Remove\n" +
		"them once you have logged in with the vault's, or set a passphrase (ssh-keygen -p -f FILE):")
	for _, path := range u.result.Plaintext {
		u.say("  %s", path)
	}
}
