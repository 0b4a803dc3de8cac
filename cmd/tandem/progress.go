package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem/internal/control"
)

// progress shows on standard error how far a body of documents has come: as a bar on a terminal, as
// a line a second when asked for. What is done within half a second shows nothing.
type progress struct {
	*session
	form    string // auto, bar, plain or none
	began   time.Time
	mu      sync.Mutex // the sending goroutine and the reading one both tell
	shown   time.Time  // when last
	drawn   bool
	phase   string
	entered time.Time // when the phase began
}

const (
	quiet    = 500 * time.Millisecond
	barPause = 100 * time.Millisecond
	barWidth = 30
)

func (p *progress) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.form, "progress", "auto", "auto (a bar on a terminal), plain (a line a second) or none")
	_ = cmd.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "plain", "none"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

func (p *progress) start() {
	p.began = time.Now()
	p.shown = p.began.Add(quiet - p.pause())
	f, isFile := p.errs.(*os.File)
	if p.form == "auto" && (!isFile || !term.IsTerminal(int(f.Fd()))) {
		p.form = "none"
	}
}

func (p *progress) pause() time.Duration {
	if p.form == "plain" {
		return time.Second
	}
	return barPause
}

// reader counts what is sent.
func (p *progress) reader(in io.Reader, size int64) io.Reader {
	return &counted{Reader: in, behind: func(n int64) { p.at("send", n, size) }}
}

// event shows what the server says.
func (p *progress) event(e control.Event) {
	if e.Progress != nil {
		p.at(e.Progress.Phase, e.Progress.Done, e.Progress.Total)
	}
}

// at shows that so much of a phase is done, unless something was shown just now.
func (p *progress) at(phase string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if phase != p.phase {
		p.phase, p.entered = phase, now
	}
	if p.form == "none" || now.Sub(p.shown) < p.pause() {
		return
	}
	p.shown = now
	line := describe(phase, done, total, now.Sub(p.entered))
	if p.form == "plain" {
		fmt.Fprintln(p.errs, line)
		return
	}
	p.drawn = true
	fmt.Fprintf(p.errs, "\r\x1b[K%s", line)
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.errs, "\r\x1b[K")
	}
}

// describe draws one state. Sending and reading count octets, the rest counts documents.
func describe(phase string, done, total int64, spent time.Duration) string {
	words := map[string]string{"send": "sending", "read": "reading", "check": "checking", "write": "writing", "export": "exporting", "play": "playing"}
	amount := thousands(done)
	if phase == "send" || phase == "read" {
		amount = fmt.Sprintf("%.1f MB", float64(done)/1e6)
	} else if spent > 0 {
		if total > 0 {
			amount += " of " + thousands(total)
		}
		amount += fmt.Sprintf(", %s/s", thousands(int64(float64(done)/spent.Seconds())))
	}
	if total <= 0 {
		return fmt.Sprintf("%-8s %s", words[phase], amount)
	}
	share := min(float64(done)/float64(total), 1)
	full := int(share * barWidth)
	return fmt.Sprintf("%-8s [%s%s] %3.0f%%  %s", words[phase], strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), share*100, amount)
}

// counted tells how much has been read.
type counted struct {
	io.Reader
	n      int64
	behind func(n int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	c.behind(c.n)
	return n, err
}
