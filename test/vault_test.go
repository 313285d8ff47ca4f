package test

import (
	"encoding/json"
	"fmt"
	"net"

	"github.com/rogpeppe/go-internal/testscript"
)

func dial(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// vaultAdd imports private key files into the default vault. Of ssh-add's
// options it knows -h, which `vigilctl edit` sets on an item.
func vaultAdd(ts *testscript.TestScript, args []string) {
	var destinations []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-h":
			i++
			destinations = append(destinations, "--destination", args[i])
		case "-H":
			i++
			destinations = append(destinations, "--known-hosts", args[i])
		default:
			ts.Check(ts.Exec("vigilctl", "add", ts.MkAbs(args[i])))
			if len(destinations) > 0 {
				ts.Check(ts.Exec("vigilctl", append([]string{"edit", args[i]}, destinations...)...))
			}
		}
	}
}

// removeAllItems empties the vault that `up` filled with a key of its own.
func removeAllItems(ts *testscript.TestScript) error {
	var listed struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &listed); err != nil {
		return fmt.Errorf("vigilctl list --json: %w", err)
	}
	for _, item := range listed.Items {
		if err := ts.Exec("vigilctl", "rm", "--yes", item.ID); err != nil {
			return err
		}
	}
	return nil
}
