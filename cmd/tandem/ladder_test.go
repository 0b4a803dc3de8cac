package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// arrows reads "from > to text" lines, ten milliseconds apart.
func arrows(lines string) []tandem.Arrow {
	var out []tandem.Arrow
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.Local)
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		a := tandem.Arrow{Time: at.Add(time.Duration(len(out)) * 10 * time.Millisecond), Text: strings.TrimSpace(line)}
		if from, rest, ok := strings.Cut(a.Text, " > "); ok {
			a.From = from
			a.To, a.Text, _ = strings.Cut(rest, " ")
		}
		out = append(out, a)
	}
	return out
}

// someLadders are calls that are drawn at each width.
func someLadders() map[string]string {
	return map[string]string{
		"1 a usual call": `
alice > tandem INVITE
tandem > alice 407 INVITE
alice > tandem ACK
alice > tandem INVITE
tandem > alice 100 INVITE
tandem > east1 INVITE
east1 > tandem 180 INVITE
tandem > alice 180 INVITE
12 messages left out
east1 > tandem BYE (again)
tandem > alice BYE
alice > tandem 200 BYE
tandem > east1 200 BYE (not sent)`,
		"2 failover and two callees": `
127.0.0.21:5060 > tandem INVITE
tandem > east1 INVITE (not sent)
tandem > east2 INVITE
east2 > tandem 200 INVITE
tandem > 127.0.0.21:5060 200 INVITE`,
		"3 many take part": `
[2001:db8::1:5060]:5060 > tandem INVITE
tandem > phone-1 INVITE
tandem > phone-2 INVITE
tandem > phone-3 INVITE
tandem > phone-4 INVITE
tandem > phone-5 INVITE
tandem > phone-6 INVITE
phone-6 > tandem 200 INVITE
tandem > [2001:db8::1:5060]:5060 200 INVITE`,
		"4 what a stranger may send": `
a-name-that-is-far-too-long-for-any-column > tandem SUBSCRIBEANDMORE
` + "tandem > x\x1b[31m 404 SUBSCRIBE",
	}
}

// TestLadderDrawn compares testdata/ladder.txt with ladders at three widths; -update rewrites it.
func TestLadderDrawn(t *testing.T) {
	const golden = "testdata/ladder.txt"
	var out bytes.Buffer
	for _, width := range []int{80, 120, 0} {
		for _, name := range []string{"1 a usual call", "2 failover and two callees", "3 many take part", "4 what a stranger may send"} {
			fmt.Fprintf(&out, "== %s, %d columns\n", name[2:], width)
			all := arrows(someLadders()[name])
			l := newLadder(&out, width, ladderTime, participants(all))
			for i := range all {
				l.draw(&all[i], "")
			}
		}
		fmt.Fprintf(&out, "== a trace, %d columns\n", width)
		traced(&out, width)
	}
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("%s has it otherwise; -update rewrites it:\n%s", golden, diff)
	}
	width := 0
	for line := range strings.Lines(out.String()) {
		if fmt.Sscanf(line[max(0, strings.LastIndex(line, ", ")):], ", %d columns", &width); width > 0 && len([]rune(line)) > width+1 && !strings.Contains(line, "->") && !strings.Contains(line, "  (") {
			t.Errorf("more than %d columns: %s", width, line)
		}
	}
}

// traced writes two calls and a registration, as they might come.
func traced(out io.Writer, width int) {
	w := &traceWriter{session: &session{out: out, errs: io.Discard}, form: "table", numbers: make(map[string]*traceCall)}
	w.ladder = newLadder(out, width, ladderTime+ladderTag, nil)
	ids := map[string]string{"alice": callID(1), "pstn": callID(2)}
	for i, a := range arrows(`
127.0.0.1:5062 > tandem REGISTER
tandem > 127.0.0.1:5062 200 REGISTER
pstn > tandem INVITE
tandem > east1 INVITE
alice > tandem INVITE
tandem > east2 INVITE
east2 > tandem 486 INVITE
tandem > alice 486 INVITE
east1 > tandem 200 INVITE
tandem > pstn 200 INVITE`) {
		l := tandem.TraceLine{Arrow: a, Caller: "+12025550123@pstn.example", Called: "200@voice.example.net"}
		switch strings.Replace(a.From+a.To, "tandem", "", 1) {
		case "pstn", "east1":
			l.CallID, l.Call = "c1", ids["pstn"]
		case "127.0.0.1:5062":
			l.CallID = "r1"
		default:
			l.CallID = "c2"
			if i > 4 {
				l.Call = ids["alice"]
			}
		}
		l.Time = l.Time.Add(time.Duration(i) * 4 * time.Second)
		if i == 1 {
			l.Raw = "SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\n\r\n"
		}
		if i == 6 {
			l.Missed = 17
		}
		_ = w.write(&l) // nothing is encoded
	}
}

// TestSIPTrace watches until it is interrupted, which is a normal end.
func TestSIPTrace(t *testing.T) {
	socket := serve(t)
	ctx, interrupt := context.WithCancel(t.Context())
	out, in := io.Pipe()
	code := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		code <- run(ctx, []string{"--socket", socket, "sip", "trace", "-o", "json"}, strings.NewReader(""), in, &errs)
		in.Close()
	}()
	line := make([]byte, 300)
	n, err := io.ReadAtLeast(out, line, 40)
	if err != nil || !strings.HasPrefix(string(line[:n]), `{"time":"2026-11-20T08:00:00Z","from":"phone-a","to":"tandem","text":"INVITE"`) {
		t.Errorf("the first message is %q, %v", line[:n], err)
	}
	go interrupt()
	_, _ = io.Copy(io.Discard, out)
	if got := <-code; got != exitDone || errs.String() != "watching; Ctrl-C ends it\n" {
		t.Errorf("interrupted: exit %d, %q", got, errs.String())
	}
}
