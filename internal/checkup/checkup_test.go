package checkup

import "testing"

func TestCount(t *testing.T) {
	for _, tt := range []struct {
		n    int
		one  string
		want string
	}{
		{0, "key", "0 keys"},
		{1, "key", "1 key"},
		{2, "key", "2 keys"},
		{1, "identity", "1 identity"},
		{2, "identity", "2 identities"},
		{3, "line", "3 lines"},
		{30, "day", "30 days"},
	} {
		if got := Count(tt.n, tt.one); got != tt.want {
			t.Errorf("%d %s: %q, want %q", tt.n, tt.one, got, tt.want)
		}
	}
}
