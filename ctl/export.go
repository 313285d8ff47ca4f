package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/durable"
)

// exportFlags are the flags of `export` that aren't part of its request.
type exportFlags struct {
	output string
	force  bool
	pass   *source
	newKey *source
}

func (a *app) exportCommand() *cobra.Command {
	var req control.ExportRequest
	f := exportFlags{pass: vaultPassphrase(), newKey: keyPassphrase()}
	f.newKey.what = "the new file's passphrase"
	cmd := &cobra.Command{
		Use:   "export KEY --output FILE [flags]",
		Short: "Write a key to an OpenSSH private key file",
		Long: `Write a key to an OpenSSH private key file with a passphrase of its own. It asks for
the vault's passphrase even if the vault is unlocked. FILE may be "-", standard
output; an existing file is not replaced without --force.

Whoever has the file and its passphrase has the key: locking the vault or removing
an identity has no effect on it.`,
		Example: `  vigilctl export laptop --output laptop.key
  vigilctl export ci --output - --no-passphrase \
      --passphrase-file vault.pass | ssh-add -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			if err := a.checkExport(&req, &f); err != nil {
				return err
			}
			reply, err := a.export(cmd.Context(), req, &f)
			if err != nil {
				return err
			}
			a.notices(reply.Notices)
			if f.output == "-" {
				return nil
			}
			return a.print(reply, func(w io.Writer) { printf(w, "wrote %s to %s\n", a.keyLine(reply.Key), f.output) })
		},
	}
	cmd.Flags().StringVar(&f.output, "output", "", "`FILE` to write (\"-\": standard output)")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace the file when it is there")
	cmd.Flags().BoolVar(&req.Plaintext, "no-passphrase", false, "write the key in clear")
	_ = cmd.MarkFlagRequired("output")
	f.pass.flags(cmd)
	f.newKey.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("no-passphrase", "key-passphrase-fd")
	cmd.MarkFlagsMutuallyExclusive("no-passphrase", "key-passphrase-file")
	vaultFlag(cmd, &req.Vault, "any")
	return cmd
}

// checkExport refuses flags that can't be combined, before it asks anything.
func (a *app) checkExport(req *control.ExportRequest, f *exportFlags) error {
	switch {
	case f.output == "-" && a.json:
		return control.Errorf(control.CodeUsage, "Give --output a file.", "--json and the key can't both go to standard output")
	case f.pass.stdin(a) && f.newKey.stdin(a):
		return control.Errorf(control.CodeUsage, "Give one of them as a file.", "standard input can't be both passphrases")
	}
	if f.output != "-" && !f.force {
		if _, err := os.Lstat(f.output); err == nil {
			return fileExists(f.output)
		}
	}
	f.pass.once = f.newKey.fd >= 0 || f.newKey.file == "-" // can't be read again
	return nil
}

func fileExists(path string) *control.Error {
	return control.Errorf(control.CodeExists, "Name another file, or give --force.", "%s exists; nothing was changed", path)
}

// export asks for the passphrases and has the daemon write the file.
func (a *app) export(ctx context.Context, req control.ExportRequest, f *exportFlags) (*control.ExportReply, error) {
	out, err := a.createOutput(f.output, f.force)
	if err != nil {
		return nil, err
	}
	defer out.abandon()
	var (
		reply  *control.ExportReply
		newKey *newPassphrase
	)
	defer func() { newKey.wipe() }()
	err = a.withPassphrase(ctx, f.pass, "Passphrase of the vault: ", control.CodeWrongPassphrase, func(pass *os.File) error {
		req.Passphrase, req.Output, req.NewPassphrase = pass, out.file, nil
		if !req.Plaintext {
			if newKey == nil {
				if newKey, err = a.askNew(ctx, f.newKey, "New passphrase for the file: "); err != nil {
					return err
				}
			}
			file, err := newKey.open(a)
			if err != nil {
				return err
			}
			defer file.Close()
			req.NewPassphrase = file
		}
		reply, err = call(ctx, a, &req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply, out.commit()
}

// output is a file that appears under its name only when it is complete.
type output struct {
	file        *os.File
	path, temp  string
	replace     bool
	passThrough bool // standard output, which was already open
}

// createOutput returns the output for path: a temporary file beside it, or
// standard output for "-".
func (a *app) createOutput(path string, replace bool) (*output, error) {
	if path == "-" {
		stdout, ok := a.stdout.(*os.File)
		if !ok {
			return nil, control.Errorf(control.CodeFailed, "Give --output a file.", "standard output can't be passed on")
		}
		return &output{file: stdout, passThrough: true}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".vigil-export-*")
	if err != nil {
		return nil, control.Errorf(control.CodeFailed, "", "%v", &durable.WriteError{Path: path, Step: "make it", Err: err})
	}
	return &output{file: f, path: path, temp: f.Name(), replace: replace}, nil
}

// commit syncs the file and gives it its name.
func (o *output) commit() error {
	if o.passThrough {
		return nil
	}
	err := o.file.Sync()
	if e := o.file.Close(); err == nil {
		err = e
	}
	if err == nil && o.replace {
		err = os.Rename(o.temp, o.path)
	} else if err == nil {
		err = os.Link(o.temp, o.path)
	}
	if errors.Is(err, fs.ErrExist) {
		return fileExists(o.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(o.path))
	}
	if err != nil {
		return control.Errorf(control.CodeFailed, "", "%v", &durable.WriteError{Path: o.path, Step: "complete it", Err: err})
	}
	return nil
}

// abandon removes a file that wasn't committed.
func (o *output) abandon() {
	if !o.passThrough {
		_ = o.file.Close()
		_ = os.Remove(o.temp)
	}
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
