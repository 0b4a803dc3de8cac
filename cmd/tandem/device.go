package main

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

func newDevice(s *session) *cobra.Command {
	return group("device", "Look after devices", newProvisioningURL(s))
}

const provisioningHelp = `Makes a secret URL from which the device can fetch its configuration once. Whoever has the URL has
the device's password: hand it over like one.`

func newProvisioningURL(s *session) *cobra.Command {
	var form string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "provisioning-url ID", Short: "Make a one-time URL for a device's configuration",
		Long:    provisioningHelp,
		Example: "  tandem device provisioning-url 1001-2 --for 2h",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindDevice),
		RunE: func(cmd *cobra.Command, args []string) error {
			const most = 30 * 24 * time.Hour
			if ttl < time.Second || ttl > most {
				return misuse("--for %s is not between 1s and 720h", ttl)
			}
			made, err := s.door().ProvisioningURL(cmd.Context(), args[0], control.PermitRequest{Seconds: uint32(ttl / time.Second)})
			if err != nil {
				return err
			}
			if form != "table" {
				return s.show(form, made, nil)
			}
			s.printf("%s\n", made.URL)
			return nil
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().DurationVar(&ttl, "for", 24*time.Hour, "how long the URL is good for, at most 720h")
	return cmd
}
