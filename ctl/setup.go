package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/printable"
	"vigil/internal/pubkey"
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
	list, err := call(ctx, u.app, &control.ListRequest{Vault: v.Name})
	if err != nil {
		return err
	}
	shown := u.newProgress("importing keys")
	defer u.clearLine()
	for i, path := range paths {
		shown.show(i, len(paths))
		if err := u.importKey(ctx, v.Name, path, append(list.Keys, u.result.Imported...)); err != nil {
			return err
		}
	}
	if u.imports != nil && u.imports[0] == "all" {
		u.nameOthers()
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
		found, _ := u.sshKeys()
		return pathsOf(found), nil
	case len(u.imports) > 0:
		return u.imports, nil
	}
	found, _ := u.sshKeys()
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
		t.say("  %d  %s (%s)", i+1, f.path, f.protection)
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

// sshKeys returns the private key files in ~/.ssh, and the names of files that are
// something else.
func (u *up) sshKeys() (found []keyFile, others []string) {
	if u.paths.Home == "" {
		return nil, nil
	}
	return findKeyFiles(filepath.Join(u.paths.Home, ".ssh"))
}

// importKey imports one key file into a vault that has the given keys. It returns an
// error only if the others can't be imported either: for an interruption or a lost daemon.
func (u *up) importKey(ctx context.Context, vault, path string, have []control.Key) error {
	name := keyName(path)
	i := slices.IndexFunc(have, func(k control.Key) bool { return k.Name == name })
	if i >= 0 && pubkey.AuthorizedKey(publicBeside(path), "") == have[i].PublicKey {
		// Imported by an earlier run: don't ask for its passphrase again.
		u.say("%s is in the vault already, as %s", path, name)
		return nil
	}
	name = freeName(name, func(name string) bool {
		return slices.ContainsFunc(have, func(k control.Key) bool { return k.Name == name })
	})
	reply, err := u.addKey(ctx, path, control.AddRequest{Vault: vault, Name: name}, keyPassphrase())
	if err == nil {
		u.saved(reply.Saved)
		u.say("imported %s", u.keyLine(reply.Key))
		u.result.Imported = append(u.result.Imported, reply.Key)
		return nil
	}
	e := control.AsError(err)
	switch e.Code {
	case control.CodeInterrupted, control.CodeNoDaemon, control.CodeLocked:
		return e
	case control.CodeExists:
		u.say("%s: %s", path, e.Message)
		return nil
	case control.CodeKeyPassphrase:
		e = control.Errorf(e.Code, "`vigilctl add "+printable.Word(path)+"` asks for its passphrase.", "%s", e.Message)
	}
	u.say("not imported: %s: %s", path, strings.TrimPrefix(e.Message, path+" "))
	if e.Next != "" && !u.said[e.Next] {
		u.say("  %s", e.Next)
		u.said[e.Next] = true
	}
	named := len(u.imports) > 0 && u.imports[0] != "all"
	if !named && (e.Code == control.CodeBadKeyFile || e.Code == control.CodeKeyPassphrase) {
		u.result.LeftOut = append(u.result.LeftOut, failedImport{path, e})
	} else {
		u.result.Failed = append(u.result.Failed, failedImport{path, e})
	}
	return nil
}

// maxNamed is how many files are named in one line.
const maxNamed = 10

// nameOthers names the files in ~/.ssh that don't begin as private keys do, so that
// nobody takes them for imported.
func (u *up) nameOthers() {
	_, others := u.sshKeys()
	if len(others) == 0 {
		return
	}
	more := ""
	if len(others) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(others)-maxNamed)
		others = others[:maxNamed]
	}
	u.say("not imported, because they don't begin as private keys do: %s%s", strings.Join(others, ", "), more)
}

// importFailure returns the first error of a run in which an import failed.
func (u *up) importFailure() error {
	if len(u.result.Failed) == 0 {
		return nil
	}
	f := u.result.Failed[0]
	next := f.Error.Next
	if f.Error.Code != control.CodeBadKeyFile {
		next = "`vigilctl add " + printable.Word(f.Path) + "` tries again."
	}
	return control.Errorf(f.Error.Code, strings.TrimSpace(next+" Everything else is done."),
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
	u.say("made %s", u.keyLine(reply.Key))
	u.say("The line for a server's authorized_keys:\n%s", authorizedKey(reply.Key))
	u.result.Generated = &reply.Key
	return nil
}

// namePlaintext names the plaintext private keys in ~/.ssh.
func (u *up) namePlaintext(first bool) {
	var plain []keyFile
	found, _ := u.sshKeys()
	for _, f := range found {
		if f.protection == plaintext {
			plain = append(plain, f)
			u.result.Plaintext = append(u.result.Plaintext, f.path)
		}
	}
	if !first || len(plain) == 0 {
		return
	}
	u.say("These private keys are still on disk without a passphrase. Vigil doesn't change them. Remove\n" +
		"those that are in the vault once you have logged in with it, or set a passphrase:")
	for _, f := range plain {
		u.say("  %s", cmp.Or(f.protect, f.path))
	}
}
