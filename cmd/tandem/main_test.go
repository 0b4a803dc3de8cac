package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestSession runs the commands of each file one after the other against a server of its own, and
// compares what they print, both streams together, and their exit codes.
func TestSession(t *testing.T) {
	for _, golden := range []string{"testdata/session.txt", "testdata/balance.txt", "testdata/dns.txt"} {
		t.Run(golden, func(t *testing.T) { testSession(t, golden) })
	}
}

func testSession(t *testing.T, golden string) {
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	socket := serve(t)
	t.Setenv("TANDEM_SOCKET", socket)
	var got strings.Builder
	for line := range strings.Lines(string(want)) {
		command, ok := strings.CutPrefix(line, "$ tandem ")
		if !ok {
			continue
		}
		var out bytes.Buffer
		code := run(t.Context(), strings.Fields(command), strings.NewReader(""), &out, &out)
		fmt.Fprintf(&got, "%s%s", line, steady(out.String(), socket))
		if code != 0 {
			fmt.Fprintf(&got, "[exit %d]\n", code)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s has it otherwise; -update rewrites it:\n%s", golden, diff)
	}
	if strings.Contains(got.String(), "never-to-be-seen") {
		t.Error("a secret is shown")
	}
}

// steady takes out of an output what is another each time.
func steady(out, socket string) string {
	out = strings.ReplaceAll(out, filepath.Dir(socket), "RUN")
	out = regexp.MustCompile(`(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d\d\d\b`).ReplaceAllString(out, "CLOCK")
	out = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllString(out, "DAY TIME")
	return regexp.MustCompile(`"expires":"[^"]*"`).ReplaceAllString(out, `"expires":"THEN"`)
}

// TestEveryCommandExplainsItself asks for a text and an example in every command's help.
func TestEveryCommandExplainsItself(t *testing.T) {
	root := newRoot(&session{})
	queue := root.Commands()
	for len(queue) > 0 {
		cmd := queue[0]
		queue = append(queue[1:], cmd.Commands()...)
		if cmd.Short == "" {
			t.Errorf("%s has no short text", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && cmd.Name() != "version" && (cmd.Long == "" || cmd.Example == "") {
			t.Errorf("%s has no help with an example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(line) > 105 {
				t.Errorf("%s: a line of its help is %d columns wide: %s", cmd.CommandPath(), len(line), line)
			}
		}
	}
}

func TestApplyFromStandardInput(t *testing.T) {
	socket := serve(t)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"--socket", socket, "apply", "-f", "-"}, strings.NewReader(`{"kind":"Cluster","id":"c1"}`), &out, &errs)
	if code != 0 || out.String() != "1 document: 1 created, 0 changed, 0 unchanged; revision 1, last line 1\n" || errs.Len() > 0 {
		t.Errorf("apply -f - = %d, %q, %q", code, out.String(), errs.String())
	}
	out.Reset()
	code = run(t.Context(), []string{"--socket", socket, "apply", "-f", "-"}, strings.NewReader("{}\n{}"), &out, &errs)
	want := "(stdin):1: kind: is missing: Cluster, Node, Edge, Zone, Group, Account, Peer, User, Device, TSIGKey, View, RecordSet or NumberRange\n" +
		"(stdin):2: kind: is missing: Cluster, Node, Edge, Zone, Group, Account, Peer, User, Device, TSIGKey, View, RecordSet or NumberRange\n" +
		"tandem: (stdin): 2 faults, nothing was written\n"
	if code != 2 || out.Len() > 0 || errs.String() != want {
		t.Errorf("apply of two faults = %d, %q, %q", code, out.String(), errs.String())
	}
}

func TestTableFits(t *testing.T) {
	make := func() *table {
		made := &table{header: []string{"ID", "NAME", "N"}}
		made.add("1", "a name that is rather long", "12")
		made.add("22", "Ünïcode nämes cöunt as töey look", "3")
		return made
	}
	cases := []struct {
		width int
		want  string
	}{
		{0, "ID  NAME                              N\n1   a name that is rather long        12\n22  Ünïcode nämes cöunt as töey look  3\n"},
		{24, "ID  NAME              N\n1   a name that is r…  12\n22  Ünïcode nämes cö…  3\n"},
		{5, "ID  NAME  N\n1   a n…  12\n22  Ünï…  3\n"},
	}
	for _, c := range cases {
		var out strings.Builder
		make().print(&out, c.width)
		got := out.String()
		if c.width == 24 {
			for line := range strings.Lines(got) {
				if n := len([]rune(line)) - 1; n > c.width {
					t.Errorf("a line is %d wide, want at most %d: %s", n, c.width, line)
				}
			}
			continue
		}
		if got != c.want {
			t.Errorf("width %d:\n%swant\n%s", c.width, got, c.want)
		}
	}
	pages := make()
	var out strings.Builder
	pages.print(&out, 0)
	pages.add("333", "x", "4")
	pages.print(&out, 0)
	if !strings.HasSuffix(out.String(), "\n333  x                                 4\n") || strings.Count(out.String(), "NAME") != 1 {
		t.Errorf("two pages:\n%s", out.String())
	}
	narrow := &table{header: []string{"ID", "FROM"}}
	narrow.add("0pgfc7hke9m7n4m9nrtg", "bob")
	out.Reset()
	narrow.print(&out, 30)
	narrow.add("0pgfc7hke9m7n4m9nrtg", "alice@voice.example.net")
	narrow.print(&out, 30)
	want := "ID                    FROM\n0pgfc7hke9m7n4m9nrtg  bob\n0pgfc7hke9m7n4m9nrtg  alice@v…\n"
	if out.String() != want {
		t.Errorf("ids and later pages of a narrow table:\n%swant\n%s", out.String(), want)
	}
	spare := &table{header: []string{"ID", "STARTED", "NODE", "FROM", "STATE"}, spare: []string{"NODE"}}
	spare.add("0pgfc7hke9m7n4m9nrtg", "2026-11-25 20:47:43", "east1", "alice@voice.example.net", "answered")
	out.Reset()
	spare.print(&out, 52)
	spare.add("0pgfc7hke9m7n4m9nrth", "2026-11-25 20:47:44", "east1", "bob", "ended")
	spare.print(&out, 0)
	want = "ID                    STARTED    FROM       STATE\n0pgfc7hke9m7n4m9nrtg  …20:47:43  alice@vo…  answered\n0pgfc7hke9m7n4m9nrth  2026-11-25 20:47:44  bob                      ended\n"
	if out.String() != want {
		t.Errorf("a table with a spare column:\n%swant\n%s", out.String(), want)
	}
	whole := &table{header: []string{"WHAT", "FOUND"}, whole: true}
	whole.add("answer", "all of it")
	out.Reset()
	whole.print(&out, 10)
	if want = "WHAT    FOUND\nanswer  all of it\n"; out.String() != want {
		t.Errorf("a table that is not cut:\n%swant\n%s", out.String(), want)
	}
	var tricky table
	tricky.header = []string{"X"}
	tricky.add("a\x1b[31m\u009bb")
	out.Reset()
	tricky.print(&out, 0)
	if out.String() != "X\na?[31m?b\n" {
		t.Errorf("control characters come through: %q", out.String())
	}
}

func TestLiveTables(t *testing.T) {
	now := began.Add(90 * time.Second)
	var out strings.Builder
	found := registrations([]tandem.Binding{{
		Account: "1001", Device: "phone-a", AOR: "alice", Contact: "sip:alice@192.0.2.7", Transport: tandem.TCP,
		Edge: "edge1", Expires: began.Add(10 * time.Minute), UserAgent: "phone/1",
	}}, now)
	found.print(&out, 0)
	under := calls([]tandem.Call{
		{ID: "1", Account: "1001", From: "a@x", To: "b@x", Type: "invite", Node: "east1", State: tandem.CallAnswered, Started: began},
		{ID: "2", Account: "1001", From: "a@x", To: "b@x", Type: "core", State: tandem.CallEnded, Started: began, Ended: began.Add(5 * time.Second), Cause: "bye"},
	}, now)
	under.print(&out, 0)
	want := `ACCOUNT  DEVICE   AOR    CONTACT              SOURCE            VIA  EDGE   EXPIRES   USER AGENT
1001     phone-a  alice  sip:alice@192.0.2.7  invalid AddrPort  tcp  edge1  in 8m30s  phone/1
ID  STARTED   ACCOUNT  FROM  TO   TYPE    NODE   STATE     FOR    CAUSE
1   DAY TIME  1001     a@x   b@x  invite  east1  answered  1m30s
2   DAY TIME  1001     a@x   b@x  core           ended     5s     bye
`
	got := strings.ReplaceAll(out.String(), local(began), "DAY TIME")
	got = strings.ReplaceAll(got, "STARTED"+strings.Repeat(" ", 14), "STARTED   ")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProgress(t *testing.T) {
	cases := []struct {
		phase       string
		done, total int64
		spent       time.Duration
		want        string
	}{
		{"send", 12_345_678, 0, time.Second, "sending  12.3 MB"},
		{"send", 5_000_000, 10_000_000, time.Second, "sending  [===============               ]  50%  5.0 MB"},
		{"check", 25_000, 100_000, 500 * time.Millisecond, "checking [=======                       ]  25%  25,000 of 100,000, 50,000/s"},
		{"export", 50_000, 0, 2 * time.Second, "exporting 50,000, 25,000/s"},
		{"write", 100_000, 100_000, 4 * time.Second, "writing  [==============================] 100%  100,000 of 100,000, 25,000/s"},
	}
	for _, c := range cases {
		if got := describe(c.phase, c.done, c.total, c.spent); got != c.want {
			t.Errorf("describe(%s, %d of %d) =\n%s, want\n%s", c.phase, c.done, c.total, got, c.want)
		}
	}
	var out bytes.Buffer
	p := progress{session: &session{errs: &out}, form: "plain"}
	p.start()
	p.at("write", 1, 2)
	if out.Len() > 0 {
		t.Errorf("something is shown within half a second: %q", out.String())
	}
	p.shown = p.shown.Add(-2 * time.Second)
	p.event(control.Event{Progress: &control.Progress{Phase: "write", Done: 1, Total: 2}})
	p.end()
	if !strings.HasPrefix(out.String(), "writing ") || !strings.HasSuffix(out.String(), "\n") {
		t.Errorf("plain progress = %q", out.String())
	}
}
