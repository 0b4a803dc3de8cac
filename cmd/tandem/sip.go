package main

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

func newSIP(s *session) *cobra.Command {
	return group("sip", "Look at SIP", newRegistrations(s), newSIPTrace(s))
}

func newRegistrations(s *session) *cobra.Command {
	var form, account string
	cmd := &cobra.Command{
		Use: "registrations", Aliases: []string{"registration"}, Short: "List registered contacts",
		Long:    "Lists the contacts that are registered now: whose they are, where they are, how long they last.",
		Example: "  tandem sip registrations\n  tandem sip registrations --account 1001 -o json",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := s.door().Registrations(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.show(form, found, func() table { return registrations(found, time.Now()) })
		},
	}
	outputFlag(cmd, &form, "table")
	s.accountFlag(cmd, &account)
	return cmd
}

func registrations(found []tandem.Binding, now time.Time) table {
	t := table{header: []string{"ACCOUNT", "DEVICE", "AOR", "CONTACT", "SOURCE", "VIA", "EDGE", "EXPIRES", "USER AGENT"}}
	for _, b := range found {
		left := b.Expires.Sub(now).Round(time.Second)
		t.add(b.Account, b.Device, b.AOR, b.Contact, b.Source.String(), b.Transport.String(), b.Edge, "in "+left.String(), b.UserAgent)
	}
	return t
}

// accountFlag adds --account to a command that lists what accounts have.
func (s *session) accountFlag(cmd *cobra.Command, account *string) {
	cmd.Flags().StringVar(account, "account", "", "only those of this account")
	_ = cmd.RegisterFlagCompletionFunc("account", s.completeIDs(tandem.KindAccount)) // the flag exists
}
