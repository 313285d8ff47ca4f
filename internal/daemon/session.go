package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"

	"vigil/internal/ask"
	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/session"
)

// RegisterSession registers the session of a client.
func (h *handler) RegisterSession(_ context.Context, call *control.Call, req *control.SessionRegisterRequest) (*control.SessionRegisterReply, error) {
	s, err := h.d.o.Places.Sessions.Register(call.Peer.PID, req.Term)
	if err != nil {
		return nil, control.Errorf(control.CodeRefused, "Run it in the shell of a terminal of your own.", "this session can't be registered: %v", err)
	}
	return &control.SessionRegisterReply{Session: h.d.shownSession(s)}, nil
}

// Sessions lists the registered sessions.
func (h *handler) Sessions(context.Context, *control.Call, *control.SessionListRequest) (*control.SessionListReply, error) {
	r := &control.SessionListReply{Sessions: []control.TerminalSession{}}
	for _, s := range h.d.o.Places.Sessions.All() {
		r.Sessions = append(r.Sessions, h.d.shownSession(s))
	}
	return r, nil
}

func (d *Daemon) shownSession(s *session.Session) control.TerminalSession {
	shown := control.TerminalSession{Terminal: s.Path, Leader: s.Leader, Term: s.Term, Registered: s.Time}
	for _, v := range d.all() {
		if v.Proved(ask.Witness{Session: s.ID}) {
			shown.Proved = append(shown.Proved, v.Name())
		}
	}
	return shown
}

// Ask has a person at a client's terminal wait for requests.
func (h *handler) Ask(_ context.Context, call *control.Call, req *control.AskRequest) (*control.AskReply, error) {
	if err := h.d.o.Places.Standbys.Add(call.Peer.PID, req.Channel); err != nil {
		return nil, control.Errorf(control.CodeRefused, "End another `vigilctl ask`.", "no request can come here: %v", err)
	}
	return &control.AskReply{PID: os.Getpid()}, nil
}

// Unlock unlocks a vault, and notes at whose terminal its passphrase was typed. A person is
// there: they are asked again what keys may be used for.
func (h *handler) Unlock(ctx context.Context, call *control.Call, req *control.UnlockRequest) (*control.UnlockReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	caller := ask.CallerOf(call.Peer.PID)
	r, err := v.Unlock(ctx, asker(call), req)
	if err == nil && !r.AlreadyUnlocked {
		v.Prove(caller.Witness())
		h.d.approver.quiet.End()
	}
	return r, err
}

// examineAsking says where a request from a process's terminal would ask a person.
func (d *Daemon) examineAsking(ctx context.Context, pid int) checkup.Check {
	const what = "asking"
	p := d.o.Places
	used, others := "", []string{}
	for _, w := range p.Try(ctx, p.Locate(ask.Request{Caller: ask.CallerOf(pid)})) {
		switch {
		case w.Err != nil:
			others = append(others, fmt.Sprintf("not %s: %v", w.Name, w.Err))
		case used == "":
			used = w.Name
		default:
			others = append(others, fmt.Sprintf("not %s, which comes later", w.Name))
		}
	}
	if used == "" {
		return checkup.Warning(what, "Register this session (vigilctl session register), or have `vigilctl ask` wait for requests in a terminal; docs/asking.md.",
			"nobody could be asked for a passphrase on behalf of this terminal; %s", strings.Join(others, "; "))
	}
	return checkup.Fine(what, "a request from this terminal asks for the passphrase %s; %s", used, strings.Join(others, "; "))
}
