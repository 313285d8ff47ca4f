package daemon

import (
	"context"

	"vigil/internal/opener"
)

// pushPending stores the changes that wait for the backend, and returns how many.
func (v *vault) pushPending(ctx context.Context, session *opener.Client, o *openVault) (int, error) {
	return 0, nil
}
