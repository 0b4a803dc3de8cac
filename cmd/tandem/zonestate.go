package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

// zoneStateCommands look at zones among name servers.
func zoneStateCommands(s *session) []*cobra.Command {
	return []*cobra.Command{
		newZoneStatus(s),
		newZoneRefresh(s, "refresh", "Ask a secondary zone's primaries for a newer version now", false),
		newZoneRefresh(s, "retransfer", "Transfer a secondary zone whole, whatever its serial", true),
	}
}

func newZoneStatus(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "status [ZONE]", Short: "Tell how zones stand among name servers",
		Long:    "Tells each zone's serial; for a secondary zone its primaries, and when they were and will be asked;\nfor a zone with secondaries who has which version, and the size of its journal.",
		Example: "  tandem zone status\n  tandem zone status partner.example.net -o json",
		Args:    between(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			const page = 1000
			zone := strings.Join(args, "")
			all := []tandem.ZoneState{}
			for after := ""; ; after = all[len(all)-1].Zone {
				states, err := s.door().ZoneStates(cmd.Context(), zone, after, page)
				if err != nil {
					return err
				}
				if all = append(all, states...); zone != "" || len(states) < page {
					break
				}
			}
			return s.show(form, all, func() table {
				t := table{header: []string{"ZONE", "SERIAL", "STATE", "COPIES"}, whole: zone != ""}
				for i := range all {
					t.add(all[i].Zone, strconv.FormatUint(uint64(all[i].Serial), 10), all[i].State, copiesText(&all[i]))
				}
				return t
			})
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

// copiesText says where a zone comes from and goes to.
func copiesText(st *tandem.ZoneState) string {
	var parts []string
	if len(st.Primaries) > 0 {
		text := "from " + strings.Join(st.Primaries, ", ")
		if !st.Refreshed.IsZero() {
			text += ", refreshed " + st.Refreshed.UTC().Format(time.RFC3339)
		}
		if !st.Next.IsZero() {
			text += ", next " + st.Next.UTC().Format(time.RFC3339)
		}
		if st.Error != "" {
			text += ": " + st.Error
		}
		parts = append(parts, text)
	}
	for _, x := range st.Secondaries {
		parts = append(parts, fmt.Sprintf("%s has %d", x.Address, x.Serial))
	}
	if st.JournalDiffs > 0 {
		parts = append(parts, fmt.Sprintf("journal %d octets", st.JournalOctets))
	}
	return strings.Join(parts, "; ")
}

func newZoneRefresh(s *session, name, short string, anew bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " ZONE", Short: short,
		Long:    short + ".\nReturns at once; tandem zone status tells what came of it.",
		Example: "  tandem zone " + name + " partner.example.net",
		Args:    between(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.door().RefreshZone(cmd.Context(), args[0], anew)
			if err != nil {
				return err
			}
			s.printf("%s: its primaries are asked now; it has serial %d\n", st.Zone, st.Serial)
			return nil
		},
	}
}
