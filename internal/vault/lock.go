package vault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/opener"
)

// install makes an open vault current and watches its keeper.
func (v *Vault) install(ctx context.Context, o *openVault) error {
	defer context.AfterFunc(ctx, o.keeper.Close)()
	if err := v.setDeadlines(ctx, o, o.access.Load().ends); err != nil {
		o.keeper.Close()
		return keeperError(v.name, err)
	}
	v.mu.Lock()
	if ctx.Err() != nil { // locked meanwhile
		v.mu.Unlock()
		o.keeper.Close()
		return control.Errorf(control.CodeLocked, "", "vault %q was locked while it was being unlocked", v.name)
	}
	v.open, v.listed = o, nil
	if o.noted == o.now().pins { // otherwise load has said what can't be kept
		v.problem = nil
	}
	if o.refused != nil {
		v.problem = control.AsError(o.refused)
	}
	v.mu.Unlock()
	v.show(o)
	alive, ended := context.WithCancel(context.WithoutCancel(ctx))
	v.watch.Go(func() { v.live(alive, o) })
	v.watch.Go(func() {
		<-o.keeper.Done()
		ended() // and with it a running refresh
		v.mu.Lock()
		byItself, problem := v.open == o, v.problem
		if byItself {
			v.open = nil
		}
		v.mu.Unlock()
		if byItself {
			r := v.ended(o, problem)
			v.d.Log.Warn("vault locked: its keeper ended", "vault", v.name, "why", r.Reason, "err", o.keeper.Exit())
			v.d.Refused(r)
			v.listLocked(v.publicKeys(o))
		}
	})
	return nil
}

// lock ends the keeper, and cancels all jobs and prompts. It reports whether the vault was
// unlocked; the channels are closed once the prompts' askers have ended.
func (v *Vault) lock() (unlocked bool, gone []<-chan struct{}) {
	v.mu.Lock()
	o := v.open
	v.open = nil
	for j := range v.jobs {
		j.stop()
	}
	v.mu.Unlock()
	gone = v.desk.Locked()
	if o == nil {
		return false, gone
	}
	o.keeper.Close()
	v.setProblem(nil) // of a refresh; the next unlock finds it again
	v.listLocked(v.publicKeys(o))
	return true, gone
}

// Lock locks the vault and reports whether it was unlocked. When it returns, the
// cancelled jobs, their openers, the asker and the keeper have ended, so no process has a
// secret of the vault. A job must not call it.
func (v *Vault) Lock(ctx context.Context) bool {
	v.mu.Lock()
	jobs := slices.Collect(maps.Keys(v.jobs))
	v.mu.Unlock()
	locked, ends := v.lock()
	for _, j := range jobs {
		ends = append(ends, j.ended)
	}
	for _, ended := range ends {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return locked
}

// Close ends the keeper and a prompt when the daemon ends. It doesn't wait; see Wait.
func (v *Vault) Close() {
	v.desk.Close()
	v.mu.Lock()
	o := v.open
	v.open = nil
	v.mu.Unlock()
	if o != nil {
		o.keeper.Close()
	}
}

// Wait waits until a closed vault's goroutines and processes have ended.
func (v *Vault) Wait() {
	v.desk.Wait()
	v.watch.Wait()
}

// endReserve is how far the keeper's clock and the front's may differ at the end of a
// lease.
const endReserve = 2 * time.Second

// ended says why a keeper ended by itself: it enforces its own deadlines. problem is
// the error of the last refresh, or nil.
func (v *Vault) ended(o *openVault, problem *control.Error) control.Refusal {
	r := control.Refusal{What: "keep", Vault: v.name, Next: "Unlock it: vigilctl unlock --vault " + v.name}
	now, a := clock.Now(), o.access.Load()
	over, proved := a.ends.Left(now) < endReserve, a.proved.Shown(now)
	traced, most := o.keeper.Traced(), !o.until.IsZero() && o.until.Left(now) < endReserve
	switch idle := time.Duration(v.config().Idle); {
	case traced != nil:
		r.Reason, r.Next = "the vault was locked: "+traced.Error(), opener.NextTraced
		return r
	case o.keeper.Exit() != nil:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	case most:
		r.Reason = fmt.Sprintf("the vault was unlocked for %v, the most that max_unlocked allows, so it is locked", v.config().MaxUnlocked)
	case over && a.offline:
		r.Reason = "the time that the vault may be unlocked without network is over, so it is locked"
	case over:
		r.Reason = fmt.Sprintf("the lease ended, so the vault is locked: backend and master key didn't both answer since %s",
			proved.Format(time.DateTime))
	case idle != 0:
		r.Reason = fmt.Sprintf("no key was used for %v, so the vault is locked", idle)
	default:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	}
	if problem != nil && over && !most {
		r.Reason += " (" + problem.Message + ")"
		r.Next = problem.Next
	}
	return r
}
