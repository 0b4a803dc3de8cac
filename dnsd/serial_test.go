package dnsd

import (
	"sync/atomic"
	"testing"

	"tandem/internal/tandem"
)

func TestSerialOfRevision(t *testing.T) {
	const restored tandem.Revision = 1 << 40
	steps := []tandem.Revision{1, 2, 500, 100 + restored, 101 + restored, 50 + 2*restored, 1<<24 - 1 + 2*restored, 1 + 3*restored}
	var serial atomic.Uint32
	for i, r := range steps {
		before := serial.Load()
		raise(&serial, serialOfRevision(r))
		if i > 0 && int32(serial.Load()-before) <= 0 {
			t.Errorf("after revision %d the serial went from %d to %d, want a later one", r, before, serial.Load())
		}
	}
	// The twin: an older revision moves nothing.
	before := serial.Load()
	if raise(&serial, serialOfRevision(7)); serial.Load() != before {
		t.Errorf("revision 7 moved the serial from %d to %d", before, serial.Load())
	}
	if got := later(0xffff_fff0, 5); got != 5 {
		t.Errorf("later(2^32-16, 5) = %d, want 5", got)
	}
}
