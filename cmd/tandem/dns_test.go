package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"tandem/internal/tandem"
)

// TestTraceFits: on a terminal no line is longer than it is wide, and nothing is lost; twin: where
// there is none, lines stay whole.
func TestTraceFits(t *testing.T) {
	steps := []tandem.Step{
		{What: "node", Text: "east1 is active, serves every type, priority 0, weight 100\nhealth: down (probes are not answered) since 2026-05-01T12:00:00Z, checked 104ms ago\nleft out: down"},
		{What: "answer SRV", Text: "_sip._udp.invite.1001.svc.voice.example.net. 30 IN SRV 0 100 5060 east1.node.svc.voice.example.net.\n" + strings.Repeat("x", 200)},
	}
	words := func(text string) string { return strings.Join(strings.Fields(text), "") }
	for _, width := range []int{80, 40, 0} {
		var out bytes.Buffer
		table := explained(steps, width)
		table.print(&out, width)
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 0 && n > width {
				t.Errorf("width %d: %d letters: %s", width, n, line)
			}
		}
		want := "WHATFOUND"
		for _, s := range steps {
			want += words(s.What + s.Text)
		}
		if got := words(out.String()); got != want {
			t.Errorf("width %d: %s\nwant %s", width, got, want)
		}
		if lines := strings.Count(out.String(), "\n"); width == 0 && lines != 6 {
			t.Errorf("%d lines where there is no terminal, want 6:\n%s", lines, out.String())
		}
	}
}
