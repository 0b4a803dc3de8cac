package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/control"
	"tandem/internal/rehearsal"
)

// labLB runs tandem lab lb for two hours around noon.
func labLB(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"lab", "lb", "--from", "11:30", "--to", "12:30"}, args...), strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

func TestLabLB(t *testing.T) {
	drawing := filepath.Join(t.TempDir(), "noon.svg")
	out, errs, code := labLB(t, "--groups=12", "--clusters=3", "--nodes=2", "--calls-per-hour=1000", "--event", "12:00 lose cluster3", "--compare", "--svg", drawing, "-o", "json")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	type outcome struct {
		Calls, Cut int
		Moves      []struct{ From, At string }
		Without    *outcome
	}
	var r outcome
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Calls == 0 || r.Cut == 0 || len(r.Moves) == 0 || r.Without == nil || len(r.Without.Moves) != 0 || r.Without.Calls != r.Calls {
		t.Errorf("%d calls, %d cut, %d moves; without the event %+v", r.Calls, r.Cut, len(r.Moves), r.Without)
	}
	if svg, err := os.ReadFile(drawing); err != nil || !bytes.HasPrefix(svg, []byte("<svg ")) {
		t.Errorf("the drawing is %.20q, %v", svg, err)
	}
	out, _, code = labLB(t, "--groups=12", "--clusters=3", "--nodes=2", "--progress=plain")
	if code != 0 || !strings.HasPrefix(out, "3 clusters, 6 nodes, 12 groups, made up; calls made up, seed 1\n") || !strings.Contains(out, "No group moved.") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestLabLBObjects takes the objects of a file and of a running tandem: the same, and the same comes of them.
func TestLabLBObjects(t *testing.T) {
	const example = "../../examples/telco.yaml"
	fromFile, errs, code := labLB(t, "-f", example, "--calls-per-hour", "300", "--event", "12:00 lose east", "-o", "yaml")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	f, err := os.Open(example)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	socket := serve(t)
	c := control.NewClient(socket)
	defer c.Close()
	if _, err := c.Apply(t.Context(), example, f, nil); err != nil {
		t.Fatal(err)
	}
	fromRunning, errs, code := labLB(t, "--socket", socket, "--calls-per-hour", "300", "--event", "12:00 lose east", "-o", "yaml")
	if code != 0 || fromRunning != fromFile {
		t.Errorf("exit %d: %s; the running tandem's objects come to another outcome than those of the file it got them from", code, errs)
	}

	recording := filepath.Join(t.TempDir(), "calls.jsonl")
	lines := `{"id":"1","account":"1001","started":"2026-11-23T11:45:00Z","answered":"2026-11-23T11:45:02Z","ended":"2026-11-23T11:50:00Z"}` + "\n" +
		`{"id":"2","account":"9999","started":"2026-11-23T11:45:00Z"}` + "\n"
	if err := os.WriteFile(recording, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := labLB(t, "--socket", socket, "--calls", recording)
	if code != 0 || !strings.Contains(out, "calls of 2026-11-23") || errs != "left out: calls 1 of groups that are not among the objects\n" {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
}

func TestLabLBMisused(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("kind: Group\nid: g\nexpectd: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	idle := filepath.Join(t.TempDir(), "idle.yaml")
	if err := os.WriteFile(idle, []byte("{kind: Cluster, id: c}\n---\n{kind: Node, id: n, cluster: c, addresses: [127.0.0.9], ports: {udp: 5060}}\n---\n{kind: Group, id: g}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, args, want string
		code             int
	}{
		{"event", "--groups=2 --event=noon", `event "noon": what happens to whom is missing: it may be lose NODE|CLUSTER`, exitUsage},
		{"target", "--groups=2 --event=12:00:lose", "what happens to whom is missing", exitUsage},
		{"setting", "--groups=2 --set=permitted", "setting", exitUsage},
		{"time", "--groups=2 --to=25:00", "--to: ", exitUsage},
		{"no group", "--groups=0", "1 to 200000 can be made up", exitUsage},
		{"both", "--groups=2 -f x.yaml", "make them up", exitUsage},
		{"no file", "-f does-not-exist.yaml", "no such file", exitUsage},
		{"bad documents", "-f " + bad, bad + ":3: expectd: is not a field of Group; did you mean expected?", exitUsage},
		{"nothing expected", "-f " + idle, "--calls-per-hour says", exitUsage},
		{"no recording", "--groups=2 --calls does-not-exist.jsonl", "no such file", exitUsage},
		{"day", "--groups=2 --calls ../../go.mod --day monday", `--day "monday" is not a day`, exitUsage},
		{"quality", "--groups=2 --quality-low 80 --quality-high 20", "quality.high: is out of range", exitUsage},
		{"nobody there", "--socket " + filepath.Join(t.TempDir(), "none.sock"), "", exitUnreachable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := labLB(t, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("%s: exit %d, %q; want exit %d, %q", c.args, code, errs, c.code, c.want)
			}
		})
	}
}

// TestLabLBHelp names every thing that can happen in the help.
func TestLabLBHelp(t *testing.T) {
	for _, form := range rehearsal.Forms() {
		verb, _, _ := strings.Cut(form, " ")
		if !slices.ContainsFunc(strings.Fields(labLBHelp), func(w string) bool { return w == verb }) {
			t.Errorf("the help does not name %s", verb)
		}
	}
}
