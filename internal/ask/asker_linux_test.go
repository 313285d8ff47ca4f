package ask

import (
	"errors"
	"os"
	"testing"
	"time"

	"vigil/internal/guard"
	"vigil/internal/testing/tracer"
)

// While this process is traced, nobody is asked: its tracer could take the pipe.
func TestATracedFrontAsksNobody(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tracer.Self(t)
	err = At(exe).Passphrase(t.Context(), &Place{}, Question{}, time.Minute, nil)
	if !errors.As(err, new(*guard.TracedError)) {
		t.Errorf("got %v", err)
	}
}
