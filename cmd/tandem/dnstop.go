package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
)

const dnsTopHelp = `Watches the queries that the name server gets and shows which names, clients, types, zones or rcodes
were the most frequent. Nothing is counted while nobody watches; at most 8 do at once.

Under load not each query is looked at, and numbers are estimates; what XDP answers cannot be seen. The
last line says how many those are. ERROR, where there is one, is by how much a number may be too high.`

const dnsTopExample = `  tandem dns top
  tandem dns top --by client --for 30s
  tandem dns top --by rcode --watch
  tandem dns top --by name -n 100 -o json`

func newDNSTop(s *session) *cobra.Command {
	var form string
	var live watching
	var of control.DNSTopOf
	cmd := &cobra.Command{
		Use: "top", Short: "Show the most frequent queries", Long: dnsTopHelp, Example: dnsTopExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !slices.Contains(control.DNSTopKeys(), of.By):
				return misuse("--by %s: it is one of %s", of.By, strings.Join(control.DNSTopKeys(), ", "))
			case of.For < 0 || of.For > time.Minute:
				return misuse("--for %s is not within 1s and 1m", of.For)
			case of.Limit < 1 || of.Limit > 1000:
				return misuse("-n %d is not within 1 and 1000", of.Limit)
			}
			if of.For == 0 {
				if of.For = 10 * time.Second; bool(live) {
					of.For = 2 * time.Second
				}
			}
			return live.run(cmd.Context(), s, func(s *session) error {
				top, err := s.door().DNSTop(cmd.Context(), of)
				if err != nil {
					return err
				}
				if form != "table" {
					return s.show(form, top, nil)
				}
				s.top(top)
				return nil
			})
		},
	}
	outputFlag(cmd, &form, "table")
	live.flag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&of.By, "by", "name", "name, client, type, zone or rcode")
	flags.DurationVar(&of.For, "for", 0, "how long to watch, up to 1m (default 10s, with --watch 2s)")
	flags.IntVarP(&of.Limit, "number", "n", 20, "show so many, up to 1000")
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(control.DNSTopKeys(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

// top prints what was the most frequent, and how that is known.
func (s *session) top(top control.DNSTop) {
	t := table{header: []string{"QUERIES", "A SECOND", "SHARE", strings.ToUpper(top.By)}}
	inexact := slices.ContainsFunc(top.Items, func(i control.DNSTopItem) bool { return i.Error > 0 })
	if inexact {
		t.header = slices.Insert(t.header, 1, "ERROR")
	}
	for _, item := range top.Items {
		perSecond := float64(item.Queries) / top.Seconds
		cells := []string{thousands(int64(item.Queries)), rate(&perSecond), fmt.Sprintf("%.1f%%", 100*float64(item.Queries)/float64(max(top.Queries, 1))), item.Key}
		if inexact {
			cells = slices.Insert(cells, 1, thousands(int64(item.Error)))
		}
		t.add(cells...)
	}
	t.print(s.out, s.width())
	said := fmt.Sprintf("%s in %s", queries(top.Queries), time.Duration(top.Seconds*float64(time.Second)))
	if top.Every > 1 {
		said += fmt.Sprintf(", one in %d looked at", top.Every)
	}
	if top.Missed > 0 {
		said += fmt.Sprintf("; %s missed, for too many came", thousands(int64(top.Missed)))
	}
	if top.XDP > 0 {
		said += fmt.Sprintf("; %s answered by XDP, unseen", thousands(int64(top.XDP)))
	}
	s.printf("\n")
	s.fold(said)
}

func queries(n uint64) string {
	if n == 1 {
		return "1 query"
	}
	return thousands(int64(n)) + " queries"
}
