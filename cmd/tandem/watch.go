package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// watching is the flag --watch.
type watching bool

func (w *watching) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP((*bool)(w), "watch", "w", false, "show it anew each second, until Ctrl-C")
}

// run draws once or, when watching, each second until ctx ends: on a terminal in place of the page
// before and no longer than the screen, elsewhere one page below the other.
func (w watching) run(ctx context.Context, s *session, draw func(*session) error) error {
	if !w {
		return draw(s)
	}
	s.door() // before the session is copied
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		var page bytes.Buffer
		one := *s
		one.out, one.columns = &page, s.width()
		if err := draw(&one); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if high := s.height(); high > 0 {
			s.printf("\x1b[H\x1b[2J%s", fit(page.String(), high-1))
		} else {
			s.printf("%s\n", page.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// height returns how many lines the terminal has, zero when the output is none.
func (s *session) height() int {
	f, ok := s.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	_, high, err := term.GetSize(int(f.Fd()))
	if err != nil || high < 5 {
		return 24
	}
	return high
}

// fit returns so many lines of text, with the last one: what is in between is told by its number.
func fit(text string, most int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	cut := len(lines) - most + 1
	if cut <= 1 {
		return text
	}
	return strings.Join(lines[:most-2], "") + "… " + plural(cut, "line") + " more\n" + lines[len(lines)-1] + "\n"
}
