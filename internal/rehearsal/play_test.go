package rehearsal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/rehearsal"
	"tandem/internal/tandem"
)

var update = flag.Bool("update", false, "rewrite testdata")

const noon = 12 * time.Hour

// little is a telco of three clusters that hold 100 calls each, two nodes a cluster, and groups that
// expect what is stated; every group is on the cluster that tier 1 likes.
func little(expected ...int) *rehearsal.Telco {
	t := new(rehearsal.Telco)
	for i := range 3 {
		capacity := 100
		c := &tandem.Cluster{Head: tandem.Head{ID: fmt.Sprintf("cluster%d", i+1)}, Capacity: &capacity}
		t.Add(c)
		for n := range 2 {
			t.Add(&tandem.Node{Head: tandem.Head{ID: fmt.Sprintf("node%d", 2*i+n+1)}, Cluster: c.ID})
		}
	}
	for i, n := range expected {
		t.Add(&tandem.Group{Head: tandem.Head{ID: fmt.Sprintf("group%d", i+1)}, Expected: &n})
	}
	return t
}

// around is half an hour around noon, with calls.
func around(telco *rehearsal.Telco, perHour float64, events ...string) rehearsal.Config {
	cfg := rehearsal.Config{Telco: telco, From: noon - 15*time.Minute, To: noon + 15*time.Minute, Machines: rehearsal.Machines{SetUp: 20 * time.Millisecond, Calls: 100}, Seed: 1}
	traffic := rehearsal.Traffic{PerHour: perHour, Talk: 3 * time.Minute, SameGroup: 0.2, CrossGroup: 0.1, From: cfg.From, To: cfg.To, Seed: 1}
	cfg.Calls = traffic.Calls(telco.Groups)
	for _, text := range events {
		e, err := rehearsal.ParseEvent(text)
		if err != nil {
			e, err = rehearsal.ParseSetting(text)
		}
		if err != nil {
			panic(err)
		}
		cfg.Events = append(cfg.Events, e)
	}
	return cfg
}

func play(t *testing.T, cfg rehearsal.Config) *rehearsal.Result {
	t.Helper()
	r, err := rehearsal.Run(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLose loses a cluster at noon: exactly its groups move, within two seconds of being noticed, and
// the twin without the event moves nobody.
func TestLose(t *testing.T) {
	telco := little(30, 30, 30, 20, 20, 20)
	r := play(t, around(telco, 1500, "12:00 lose cluster3"))
	twin := play(t, around(telco, 1500))
	if len(twin.Moves) != 0 || twin.Cut != 0 || len(twin.Refused) != 0 {
		t.Errorf("without the event: moves %v, cut %d, refused %v", twin.Moves, twin.Cut, twin.Refused)
	}
	lost := r.Clusters[2]
	if len(r.Moves) != 2 || lost.Out != 2 || lost.In != 0 || lost.Cut == 0 || r.Cut != lost.Cut {
		t.Errorf("moves %v, cut %d; want the two groups of cluster3 to go, and its calls to be cut", r.Moves, r.Cut)
	}
	for _, m := range r.Moves {
		after := time.Duration(m.At) - noon
		if m.From != "cluster3" || m.To == "" || m.Reason != "cluster-lost" || after <= 0 || after > 3*time.Second {
			t.Errorf("move %+v, want from cluster3 to another within three seconds", m)
		}
	}
	if before, after := lost.Load[len(lost.Load)/2-1], lost.Load[len(lost.Load)-1]; before == 0 || after != 0 {
		t.Errorf("cluster3 is loaded %v before noon, %v in the end", before, after)
	}
	for _, x := range []*rehearsal.Result{r, twin} {
		over := x.Answered + x.Unanswered + x.Failed // those that were cut or are still up may be among the answered
		if x.Calls < 500 || x.Calls != twin.Calls || x.Admitted != x.Calls || over > x.Admitted || over+x.Cut+x.Up < x.Admitted {
			t.Errorf("of %d calls %d were admitted: answered %d, not %d, failed %d, cut %d, still up %d", x.Calls, x.Admitted, x.Answered, x.Unanswered, x.Failed, x.Cut, x.Up)
		}
	}
}

// TestNoRoom loses a cluster whose largest group fits nowhere else: its calls are refused, those of the
// others go on. The twin, in which it expects less, refuses nothing.
func TestNoRoom(t *testing.T) {
	telco := little(80, 80, 80)
	r := play(t, around(telco, 1500, "12:00 lose cluster3"))
	if len(r.Left) != 1 || r.Left[0].Reason != "no-room" || r.Refused["no-cluster"] == 0 || len(r.Groups) != 1 || r.Groups[0].Group != r.Left[0].Group {
		t.Errorf("left %+v, refused %v of %+v; want the group of cluster3, for lack of room", r.Left, r.Refused, r.Groups)
	}
	r = play(t, around(telco, 1500, "12:00 lose cluster3", "12:00 expected group1=20", "12:00 expected group2=20"))
	if len(r.Left) != 0 || r.Refused["no-cluster"] > 50 {
		t.Errorf("with room: left %+v, refused %v", r.Left, r.Refused)
	}
	back := play(t, around(telco, 1500, "12:00-12:05 lose cluster3"))
	if len(back.Left) != 0 || len(back.Moves) != 2 || back.Moves[1].To != "cluster3" {
		t.Errorf("after it came back: left %+v, moves %+v; want the group back on cluster3", back.Left, back.Moves)
	}
}

func TestEvents(t *testing.T) {
	cases := []struct {
		name, event string
		differs     func(r *rehearsal.Result) bool
	}{
		{"permitted", "permitted group1=3", func(r *rehearsal.Result) bool {
			return r.Refused["permitted"] > 100 && r.Groups[0].Group == "group1"
		}},
		{"permitted for a while", "12:00-12:10 permitted group1=3", func(r *rehearsal.Result) bool { return r.Refused["permitted"] > 10 }},
		{"pin", "12:00 pin group1=cluster2", func(r *rehearsal.Result) bool {
			return len(r.Moves) == 1 && r.Moves[0].Reason == "pin" && r.Moves[0].To == "cluster2"
		}},
		{"capacity", "12:00 capacity cluster1=10", func(r *rehearsal.Result) bool {
			return len(r.Moves) > 0 && r.Moves[0].From == "cluster1" && r.Moves[0].Reason == "over-full"
		}},
		{"drain", "12:00 drain cluster1", func(r *rehearsal.Result) bool { return r.Clusters[0].Out == 1 && r.Cut == 0 }},
		{"slow", "12:00 slow cluster1 x400", func(r *rehearsal.Result) bool {
			return r.Clusters[0].Out == 1 && *r.Clusters[0].Worst < 60
		}},
		{"fail", "12:00 fail cluster1 90%", func(r *rehearsal.Result) bool { return r.Failed > 0 && r.Clusters[0].Out == 1 }},
		{"fail one node", "12:00 fail node1 90%", func(r *rehearsal.Result) bool {
			return r.Failed == 0 && len(r.Moves) == 0 && *r.Clusters[0].Worst < 90
		}},
		{"quality", "12:00 slow cluster1 x60; 12:00 quality group1=93", func(r *rehearsal.Result) bool {
			return len(r.Moves) == 1 && r.Moves[0].From == "cluster1" && r.Moves[0].Reason == "low-quality"
		}},
	}
	telco := little(40, 40, 40)
	twin := play(t, around(telco, 1500))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if r := play(t, around(telco, 1500, strings.Split(c.event, "; ")...)); !c.differs(r) {
				t.Errorf("%s: moves %+v, refused %v, failed %d, cut %d, first answers %v ms, clusters[0] %+v", c.event, r.Moves, r.Refused, r.Failed, r.Cut, r.SetUp99, r.Clusters[0].Out)
			}
			if c.differs(twin) {
				t.Error("the twin without the event is no different")
			}
		})
	}
}

// TestSame plays the same twice, and with other dice.
func TestSame(t *testing.T) {
	outcome := func(seed uint64) string {
		cfg := around(little(30, 30, 30, 20, 20), 1500, "12:00 lose cluster2", "12:10 restore cluster2")
		cfg.Seed = seed
		text, err := json.Marshal(play(t, cfg))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if diff := cmp.Diff(outcome(1), outcome(1)); diff != "" {
		t.Error("the same became another: " + diff)
	}
	if outcome(1) == outcome(2) {
		t.Error("other dice came to the same")
	}
}

func TestBadConfig(t *testing.T) {
	cases := []struct {
		name, want string
		spoil      func(c *rehearsal.Config)
	}{
		{"nothing", "there is no cluster among the objects", func(c *rehearsal.Config) { c.Telco = new(rehearsal.Telco) }},
		{"node of no cluster", `node x: there is no cluster "y"`, func(c *rehearsal.Config) {
			c.Telco.Add(&tandem.Node{Head: tandem.Head{ID: "x"}, Cluster: "y"})
		}},
		{"unknown target", `there is no node or cluster "cluster9"`, func(c *rehearsal.Config) { c.Events[0].Target = "cluster9" }},
		{"unknown group", `there is no group "cluster1"`, func(c *rehearsal.Config) {
			c.Events[0] = rehearsal.Event{At: noon, Verb: rehearsal.Permitted, Target: "cluster1", Number: 1}
		}},
		{"two of one name", "write node:cluster1 or cluster:cluster1", func(c *rehearsal.Config) {
			c.Telco.Add(&tandem.Node{Head: tandem.Head{ID: "cluster1"}, Cluster: "cluster1"})
		}},
		{"too early", "is not between 11:45 and 12:15", func(c *rehearsal.Config) { c.Events[0].At = 0 }},
		{"backwards", "at least a minute", func(c *rehearsal.Config) { c.From, c.To = c.To, c.From }},
		{"balance", "out of range", func(c *rehearsal.Config) { c.Try(rehearsal.Trial{Low: 90, High: 20}) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := around(little(10), 100, "12:00 lose cluster1")
			c.spoil(&cfg)
			if _, err := rehearsal.Run(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want %q", err, c.want)
			}
		})
	}
	cfg := around(little(10), 100, "12:00 lose node:node1")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rehearsal.Run(ended, cfg, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run after its end = %v", err)
	}
	if _, err := rehearsal.Run(t.Context(), cfg, nil); err != nil {
		t.Errorf("Run = %v, want none for a qualified id", err)
	}
}

// TestText compares what a terminal shows with testdata/noon.txt; each line fits 80 columns.
func TestText(t *testing.T) {
	const golden = "testdata/noon.txt"
	telco := little(30, 30, 30, 20, 20, 95)
	r := play(t, around(telco, 1500, "permitted group1=12", "12:00 lose cluster3", "12:05-12:08 slow node1 x150"))
	r.Without = play(t, around(telco, 1500))
	var got bytes.Buffer
	if err := r.Text(&got, rehearsal.Telling{Heading: "3 clusters, 6 nodes, 6 groups", Width: 80}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(got.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s has it otherwise; -update rewrites it:\n%s", golden, diff)
	}
}

// TestSVG reads the drawing as XML: a line for each cluster in both plots, and what an operator may
// have called things does not break it.
func TestSVG(t *testing.T) {
	telco := little(30, 30, 30)
	telco.Clusters[0].ID = `<a & "b">`
	telco.Nodes[0].Cluster, telco.Nodes[1].Cluster = telco.Clusters[0].ID, telco.Clusters[0].ID
	r := play(t, around(telco, 1500, "12:00 lose cluster3", "12:14 restore cluster3", "quality group1=60"))
	var out bytes.Buffer
	if err := r.SVG(&out, rehearsal.Telling{Heading: "what if </svg>", Low: 60}); err != nil {
		t.Fatal(err)
	}
	elements, lines, text := 0, 0, ""
	for d := xml.NewDecoder(&out); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			elements++
			for _, a := range x.Attr {
				if a.Name.Local == "d" && strings.Count(a.Value, "L") > 100 {
					lines++
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s=%q", a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			text += string(x)
		}
	}
	if elements < 50 || lines != 6 {
		t.Errorf("%d elements, %d long lines; want one of each cluster in two plots", elements, lines)
	}
	for _, want := range []string{"what if </svg>", `<a & "b">`, "12:00 lose cluster3", "12:14 restore cluster3", "all day: quality group1=60", "nodes close below 60", "100 %"} {
		if !strings.Contains(text, want) {
			t.Errorf("the drawing does not say %q", want)
		}
	}
}
