package node

import (
	"context"

	"tandem/store"
)

// Restore makes the data directory dir from a backup, whose digests it checks first. Dir must be
// absent or empty; nothing that runs may use it.
func Restore(ctx context.Context, backup, dir string) error {
	return store.Restore(ctx, backup, dir)
}
