package lb_test

import (
	"context"
	"testing"
)

func contextWithEnd(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}
