package durable

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The calls stand in the package comment in this order.
func TestReplaceTrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace isn't installed")
	}
	path := file(t)
	out := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", out, "-e",
		"trace=openat,flock,fchmod,write,fsync,mkdirat,linkat,renameat,renameat2,unlinkat", os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+path)
	if said, err := cmd.CombinedOutput(); err != nil || string(said) != "<nil>\n" {
		t.Skipf("strace doesn't work here: %v, %s", err, said)
	}
	dir := filepath.Dir(path)
	var got []string
	for _, call := range calls(read(t, out)) {
		if !strings.Contains(call, dir) {
			continue
		}
		name, args, _ := strings.Cut(call, "(")
		switch {
		case name == "openat" && !strings.Contains(args, "O_CREAT"):
			continue
		case strings.Contains(args, tmpTag) && name != "renameat":
			name += " temp"
		case strings.HasSuffix(strings.TrimSuffix(strings.SplitN(args, ">", 2)[0], ">"), HistoryDir):
			name += " history"
		case name == "fsync":
			name += " folder"
		}
		got = append(got, name)
	}
	want := []string{
		"openat temp", "flock temp", "fchmod temp", "write temp", "fsync temp",
		"mkdirat", "fsync folder", "linkat", "fsync history", "renameat", "fsync folder",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%s", got, want, read(t, out))
	}
}

// calls returns the calls of a trace in the order in which they began. strace cuts
// one in two, "<unfinished ...>" and "<... resumed>", when another thread has
// something to report before it ends.
func calls(trace string) []string {
	var list []string
	unfinished := map[string]int{} // by thread: where its call stands in the list
	for line := range strings.Lines(trace) {
		thread, said, _ := strings.Cut(strings.TrimSpace(line), " ")
		said = strings.TrimSpace(said)
		if strings.HasPrefix(said, "<... ") {
			_, rest, _ := strings.Cut(said, " resumed>")
			if i, ok := unfinished[thread]; ok {
				list[i] += rest
				delete(unfinished, thread)
			}
			continue
		}
		call, cut := strings.CutSuffix(said, " <unfinished ...>")
		if cut {
			unfinished[thread] = len(list)
		}
		list = append(list, call)
	}
	return list
}

func TestCalls(t *testing.T) {
	got := calls("1 openat(AT_FDCWD, \"/a\", O_CREAT, 0600 <unfinished ...>\n" +
		"2 fsync(4</b>) = 0\n" +
		"2 write(4</b>, \"x\", 1 <unfinished ...>\n" +
		"3 --- SIGURG {si_signo=SIGURG} ---\n" +
		"1 <... openat resumed>)             = 7</a>\n" +
		"2 <... write resumed>) = 1\n" +
		"1 fsync(7</a> <unfinished ...>\n" +
		"1 <... fsync resumed>) = 0\n")
	want := []string{
		"openat(AT_FDCWD, \"/a\", O_CREAT, 0600)             = 7</a>", "fsync(4</b>) = 0",
		"write(4</b>, \"x\", 1) = 1", "--- SIGURG {si_signo=SIGURG} ---", "fsync(7</a>) = 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
