package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

func newDNSSEC(s *session) *cobra.Command {
	return group("dnssec", "Look at zones' keys and roll them over",
		newDNSSECStatus(s), newDNSSECDS(s), newDNSSECRoll(s), newDNSSECSeen(s), newDNSSECUnsign(s))
}

func newDNSSECStatus(s *session) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "status ZONE", Short: "Show a zone's keys and what is waited for",
		Long: "Shows the keys of a zone, how each stands and since when, and what the next step of a roll-over waits\n" +
			"for. Keys are made and rolled by themselves; the zone's dnssec settings say how often.",
		Example: "  tandem dnssec status voice.example.net\n  tandem dnssec status voice.example.net -o json",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := s.door().Signing(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			err = s.show(form, found, func() table {
				t := table{header: []string{"KEY", "TAG", "ALGORITHM", "SIGNS", "STATE", "SINCE"}}
				for _, k := range found.Keys {
					t.add(fmt.Sprint(k.Number), fmt.Sprint(k.Tag), k.Algorithm, k.Signs, k.State, k.Since.UTC().Format(time.RFC3339))
				}
				return t
			})
			if err == nil && form == "table" && found.Waits != "" {
				s.printf("waits for %s\n", found.Waits)
			}
			return err
		},
	}
	outputFlag(cmd, &form, "table")
	return cmd
}

func newDNSSECDS(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "ds ZONE", Short: "Print the DS records that the parent should have",
		Long:    "Prints, as zone text, the DS records that a zone's parent should have now, and no others.",
		Example: "  tandem dnssec ds voice.example.net",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := s.door().Signing(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, ds := range found.DS {
				s.printf("%s\n", ds)
			}
			return nil
		},
	}
}

func newDNSSECRoll(s *session) *cobra.Command {
	var ksk, zsk bool
	cmd := &cobra.Command{
		Use: "roll ZONE", Short: "Begin a roll-over of a zone's keys",
		Long: "Gives a zone's keys successors. The old ones go when no cache needs them any more: a ZSK within days,\n" +
			"a KSK or the only key after the parent has changed its DS.",
		Example: "  tandem dnssec roll voice.example.net\n  tandem dnssec roll voice.example.net --zsk",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			act := tandem.RollKeys
			switch {
			case ksk && !zsk:
				act = tandem.RollKSK
			case zsk && !ksk:
				act = tandem.RollZSK
			}
			return s.moveKeys(cmd, args[0], act)
		},
	}
	cmd.Flags().BoolVar(&ksk, "ksk", false, "only the KSK, or the only key")
	cmd.Flags().BoolVar(&zsk, "zsk", false, "only the ZSK")
	return cmd
}

func newDNSSECSeen(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "ds-seen ZONE", Short: "Say that the parent has the DS records it should have",
		Long: "Says that all servers of a zone's parent have the DS records that tandem dnssec ds prints, and no\n" +
			"others. Needed where the zone's dnssec settings name no servers of the parent that could be asked.",
		Example: "  tandem dnssec ds-seen voice.example.net",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.moveKeys(cmd, args[0], tandem.DSSeen)
		},
	}
}

func newDNSSECUnsign(s *session) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use: "unsign ZONE --now", Short: "Take a zone's keys away at once",
		Long: "Takes the keys of a zone away whose dnssec settings were taken out, without waiting for its parent.\n" +
			"As long as the parent, or a cache, has a DS for it, the zone is bogus for those who validate.",
		Example: "  tandem dnssec unsign voice.example.net --now",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindZone),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !now {
				return fmt.Errorf("without --now the keys go by themselves, after the parent's DS")
			}
			return s.moveKeys(cmd, args[0], tandem.Unsign)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for the parent")
	return cmd
}

func (s *session) moveKeys(cmd *cobra.Command, zone string, act tandem.KeyAct) error {
	result, err := s.door().MoveKeys(cmd.Context(), zone, act)
	if err != nil {
		return err
	}
	s.printf("revision %d\n", result.Revision)
	return nil
}
