package node

import (
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// What is recorded of calls is shown at the management door, survives a restart, and is bounded as
// the file says.
func TestCallsAtTheDoor(t *testing.T) {
	dir := t.TempDir()
	cfg := configure(t, dir, whole+"store: {callEvents: 2}\n")
	a := start(t, cfg)
	c := tandem.Call{ID: tandem.NewCallID(time.Now()), From: "a@x", To: "b@x", Type: "invite"}
	c.Enter(tandem.CallTrying, time.Now())
	c.Enter(tandem.CallEnded, time.Now()) // the proxy of this node takes up what is open
	for range 4 {
		if err := a.store.RecordCalls(t.Context(), []tandem.Call{c}); err != nil {
			t.Fatal(err)
		}
	}
	a.stop()
	a = start(t, cfg)
	defer a.stop()
	client := control.NewClient(cfg.Control.Socket)
	defer client.Close()
	page, err := client.Calls(t.Context(), tandem.CallFilter{State: tandem.CallEnded})
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != c.ID {
		t.Errorf("Calls = %+v, %v, want the call", page, err)
	}
	if page, err := client.Calls(t.Context(), tandem.CallFilter{State: tandem.CallRinging}); err != nil || len(page.Items) != 0 {
		t.Errorf("calls in another state = %+v, %v", page, err)
	}
	var seen []tandem.Revision
	after := tandem.Revision(2)
	err = client.CallEvents(t.Context(), control.CallEvents{After: &after}, func(e tandem.CallEvent) error {
		seen = append(seen, e.Seq)
		return nil
	})
	if err != nil || len(seen) != 2 || seen[1] != 4 {
		t.Errorf("events after 2 = %v, %v, want 3 and 4", seen, err)
	}
	after = 0
	err = client.CallEvents(t.Context(), control.CallEvents{After: &after}, func(tandem.CallEvent) error { return nil })
	if refused, ok := err.(*control.Error); !ok || refused.Status != 410 {
		t.Errorf("events that are no longer kept = %v, want 410", err)
	}
	if _, err := client.Hangup(t.Context(), c.ID, ""); err == nil {
		t.Error("an ended call was hung up")
	}
}
