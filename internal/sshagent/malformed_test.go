package sshagent

import (
	"bufio"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
)

// malformed is one line of testdata/malformed.txt.
type malformed struct {
	name    string
	reply   byte // 0: the connection is closed
	unnoted bool // no reason is recorded
	frame   []byte
}

func readMalformed(t testing.TB) []malformed {
	t.Helper()
	f, err := os.Open("testdata/malformed.txt")
	must(t, err)
	defer f.Close()
	var all []malformed
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		fields := strings.Split(lines.Text(), " | ")
		if len(fields) != 3 {
			t.Fatalf("bad line %q", lines.Text())
		}
		m := malformed{name: fields[1]}
		if fields[0] != "close" {
			var number string
			number, m.unnoted = strings.CutSuffix(fields[0], " unnoted")
			n, err := strconv.ParseUint(number, 10, 8)
			must(t, err)
			m.reply = byte(n)
		}
		m.frame, err = hex.DecodeString(fields[2])
		must(t, err)
		all = append(all, m)
	}
	if len(all) < 80 {
		t.Fatalf("only %d messages", len(all))
	}
	return all
}

// Each malformed message is answered and noted as listed, changes nothing,
// and leaves the connection usable unless it was closed.
func TestMalformedMessages(t *testing.T) {
	for _, m := range readMalformed(t) {
		t.Run(m.name, func(t *testing.T) {
			w := newWorld(t, nil)
			key := newKey(t)
			must(t, w.client().Add(agent.AddedKey{PrivateKey: &key, Comment: "k"}))
			conn, served := w.dial()
			if m.reply == 0 {
				_, err := conn.Write(m.frame)
				if err := errors.Join(<-served, err); !errors.Is(err, ErrFrame) {
					t.Fatalf("not closed: %v", err)
				}
			} else {
				if got := exchange(t, conn, m.frame); len(got) != 1 || got[0] != m.reply {
					t.Fatalf("answered %x", got)
				}
				if noted := w.refusals.last(); (noted == "") != m.unnoted {
					t.Fatalf("noted %q", noted)
				}
				if got := exchange(t, conn, agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities)); got[0] != agentproto.MsgIdentitiesAnswer {
					t.Fatalf("the next request is answered %x", got)
				}
			}
			if got := w.comments(w.client()); got != "k" || w.keeper.held() != 1 || w.Locked() {
				t.Fatalf("lists %q, keeper has %d, locked %v", got, w.keeper.held(), w.Locked())
			}
		})
	}
}
