package control_test

import (
	"net/http"
	"strings"
	"testing"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// TestBalance asks for all that balancing tells and takes, and for what it cannot.
func TestBalance(t *testing.T) {
	d := newDoor(t, nil)
	cases := []struct {
		method, path, body string
		code               int
		says, not          string
	}{
		{"GET", "/v1/lb/status", "", 200, `"groups":[{"id":"g2"`, "error"},
		{"GET", "/v1/lb/status?limit=1", "", 200, `"id":"g2"`, `"id":"g1"`},
		{"GET", "/v1/lb/status?limit=0", "", 200, `"groups":[]`, "error"},
		{"GET", "/v1/lb/status?limit=-1", "", 400, "limit:", "groups"},
		{"GET", "/v1/lb/status?unplaced=1", "", 200, `"id":"g2"`, `"id":"g1"`},
		{"GET", "/v1/lb/status?group=g1", "", 200, `"id":"g1"`, `"id":"c2"`},
		{"GET", "/v1/lb/status?group=g2", "", 200, `"id":"c2"`, `"id":"g1"`},
		{"GET", "/v1/lb/status?group=g9", "", 404, "Group g9: not found", "clusters"},
		{"POST", "/v1/lb/plan", `{}`, 200, `"moved":0`, "error"},
		{"POST", "/v1/lb/plan", `{"lose":["c1"]}`, 200, `"moved":1`, "error"},
		{"POST", "/v1/lb/plan", `{"lose":["c9"]}`, 422, "lose[0]: there is no Cluster", "moved"},
		{"POST", "/v1/lb/plan", `{"loose":["c1"]}`, 400, "tryPlan", "moved"},
		{"GET", "/v1/clusters/c1/status", "", 200, `"nodes":[{"id":"n1"`, "c2"},
		{"GET", "/v1/clusters/c9/status", "", 404, "Cluster c9: not found", "nodes"},
		{"POST", "/v1/groups/g1/pin", `{"cluster":"c9"}`, 422, "there is no Cluster", "changed"},
		{"POST", "/v1/groups/g9/pin", `{"cluster":"c1"}`, 404, "Group g9: not found", "changed"},
		{"POST", "/v1/groups/g1/pin", `{"cluster":"c1"}`, 200, `"unchanged":1`, "error"},
		{"POST", "/v1/groups/g1/pin", `{"cluster":""}`, 200, `"changed":1`, "error"},
		{"POST", "/v1/nodes/n1/state", `{"state":"draining"}`, 200, `"calls":3`, "error"},
		{"POST", "/v1/nodes/n1/force", `{"state":"up"}`, 200, `"revision"`, "until"},
		{"POST", "/v1/nodes/n1/force", `{"state":"auto"}`, 200, `"calls":3`, "until"},
		{"POST", "/v1/nodes/n1/force", `{"state":"down","seconds":3600,"reason":"smoke"}`, 200, `"until":"20`, "error"},
		{"POST", "/v1/nodes/n1/force", `{"state":"degraded"}`, 422, "is not up, down or auto", "revision"},
		{"POST", "/v1/nodes/n1/force", `{"state":"auto","seconds":5}`, 422, "neither seconds nor reason", "revision"},
		{"POST", "/v1/nodes/n1/force", `{"state":"up","seconds":31622401}`, 422, "over the most", "revision"},
		{"POST", "/v1/nodes/n9/force", `{"state":"up"}`, 404, "not found", "revision"},
		{"POST", "/v1/nodes/n1/state", `{"state":"asleep"}`, 422, "asleep", "revision"},
		{"POST", "/v1/nodes/n1/state", `{}`, 422, "state: is missing", "revision"},
		{"POST", "/v1/nodes/n9/state", `{"state":"out"}`, 404, "Node n9: not found", "revision"},
		{"POST", "/v1/nodes/n1/load", `{"load":0}`, 200, `"id":"n1"`, "error"},
		{"POST", "/v1/nodes/n1/load", `{"load":2.5}`, 422, "load: 2.5 is not", "id"},
		{"POST", "/v1/nodes/n1/load", `{}`, 422, "load: is missing", "id"},
		{"POST", "/v1/nodes/n9/load", `{"load":0.5}`, 404, "Node n9: not found", "id"},
	}
	for _, c := range cases {
		code, body := d.ask(admin, c.method, c.path, c.body)
		if code != c.code || !strings.Contains(body, c.says) || strings.Contains(body, `"`+c.not+`"`) || strings.HasPrefix(c.not, `"`) && strings.Contains(body, c.not) {
			t.Errorf("%s %s %s = %d %s, want %d with %s and without %s", c.method, c.path, c.body, code, body, c.code, c.says, c.not)
		}
	}
	group, node := d.m.objects[tandem.KindGroup]["g1"].(*tandem.Group), d.m.objects[tandem.KindNode]["n1"].(*tandem.Node)
	if group.Cluster != "" || node.State != tandem.NodeDraining {
		t.Errorf("stored %+v and %+v, want the group without a pin and the node draining", group, node)
	}
}

// TestBalanceAbsent: where balancing does not run that is said, and what is only stored still can be.
func TestBalanceAbsent(t *testing.T) {
	d := newDoor(t, func(_ *control.Config, d *control.Deps) { d.Balancing, d.ReportLoad = nil, nil })
	for path, body := range map[string]string{"/v1/lb/plan": `{}`, "/v1/nodes/n1/load": `{"load":0.5}`} {
		if code, text := d.ask(admin, "POST", path, body); code != http.StatusNotImplemented || !strings.Contains(text, "without lb") {
			t.Errorf("POST %s = %d %s, want 501", path, code, text)
		}
	}
	for _, path := range []string{"/v1/lb/status", "/v1/clusters/c1/status"} {
		if code, text := d.ask(admin, "GET", path, ""); code != http.StatusNotImplemented || !strings.Contains(text, "without lb") {
			t.Errorf("GET %s = %d %s, want 501", path, code, text)
		}
	}
	if code, text := d.ask(admin, "POST", "/v1/nodes/n1/state", `{"state":"out"}`); code != http.StatusOK {
		t.Errorf("a node's state = %d %s, want it stored", code, text)
	}
}

// TestPinRace: a group that somebody else changes meanwhile keeps that change.
func TestPinRace(t *testing.T) {
	d := newDoor(t, nil)
	raced := false
	d.m.before = func(what string) {
		if what == "append" && !raced {
			raced = true
			n := 7
			other := *d.m.objects[tandem.KindGroup]["g1"].(*tandem.Group)
			other.Expected = &n
			if _, err := d.m.Append(t.Context(), admin, []tandem.Edit{{Kind: tandem.KindGroup, ID: "g1", Object: &other}}); err != nil {
				t.Error(err)
			}
		}
	}
	if code, body := d.ask(admin, "POST", "/v1/groups/g1/pin", `{"cluster":""}`); code != 200 {
		t.Fatalf("pin = %d %s", code, body)
	}
	g := d.m.objects[tandem.KindGroup]["g1"].(*tandem.Group)
	if g.Cluster != "" || g.Expected == nil || *g.Expected != 7 {
		t.Errorf("stored %+v, want both changes", g)
	}
}
