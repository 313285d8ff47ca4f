package watch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links are followed, as on Linux.
const maxLinks = 40

// follow updates the watches to what is at the path now: the folders of the file, of
// its target and of every link between, and the folders above these, which show a
// replaced folder. It also sets how often to poll: fast after a problem with events.
func (w *Watcher) follow(problem error) {
	links, target := resolve(w.path)
	w.links = map[string]bool{w.path: true, target: true}
	w.folders = []string{filepath.Dir(w.path)}
	if dir := filepath.Dir(target); dir != w.folders[0] {
		w.folders = append(w.folders, dir)
	}
	want := map[string]bool{}
	for _, dir := range w.folders {
		want[dir] = true
		if up := filepath.Dir(dir); up != dir {
			want[up] = true
			w.links[dir] = true
		}
	}
	for _, link := range links {
		w.links[link] = true
		want[filepath.Dir(link)] = true
	}
	reason := w.without
	if problem != nil {
		reason = problem.Error()
	}
	if w.notify != nil {
		if err := w.rewatch(want); err != nil {
			reason = err.Error()
		}
	}
	if reason == "" {
		reason = eventless(w.folders)
	}
	status := Status{Events: reason == "", Reason: reason, Poll: w.opts.Poll}
	if !status.Events {
		status.Poll = w.opts.FastPoll
	}
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
}

// rewatch watches the wanted folders and no others. Polling finds a folder that is
// missing; one that was replaced by another folder is watched again. The error is
// about a folder that the file itself is in.
func (w *Watcher) rewatch(want map[string]bool) error {
	for dir := range w.watched {
		if !want[dir] {
			_ = w.notify.Remove(dir)
			delete(w.watched, dir)
		}
	}
	var problem error
	live := w.notify.WatchList() // without folders that were removed
	for dir := range want {
		info, err := os.Stat(dir)
		if err == nil {
			now := idOf(info)
			if w.watched[dir] == now && slices.Contains(live, dir) {
				continue
			}
			_ = w.notify.Remove(dir) // the previous folder
			delete(w.watched, dir)
			if err = w.notify.Add(dir); err == nil {
				w.watched[dir] = now
				continue
			}
		}
		_ = w.notify.Remove(dir)
		delete(w.watched, dir)
		if slices.Contains(w.folders, dir) {
			problem = errors.Join(problem, err)
		}
	}
	return problem
}

// resolve follows the symbolic links in path, including those in its folders, and
// returns every link and the target, which need not exist. The folder "/" itself isn't
// watched, so links in it aren't returned.
func resolve(path string) (links []string, target string) {
	rest := strings.Split(strings.TrimPrefix(path, "/"), "/")
	at := "/"
	for hops := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		to, err := os.Readlink(next)
		if err != nil || hops == maxLinks {
			at = next
			continue
		}
		hops++
		if at != "/" {
			links = append(links, next)
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
	}
	return links, at
}
