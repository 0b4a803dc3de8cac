package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tandem/internal/lab"
	"tandem/internal/node"
)

const labHelp = `Runs the appliance with example objects and a little telco beside it on loopback: feature servers,
and phones that call one another. It prints things to try in another terminal.

Its data stays in the folder that the configuration file names; the example objects are applied
at each start.`

func newLab(s *session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "lab [-c FILE]", Short: "Run the appliance with a little telco beside it", Long: labHelp,
		Example: "  tandem lab",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := node.Load(file)
			if err != nil {
				return err
			}
			telco, err := s.telco(cfg)
			if err != nil {
				return err
			}
			return s.lab(cmd.Context(), cfg, telco)
		},
	}
	configFlag(cmd, &file)
	cmd.AddCommand(newLabLB(s))
	return cmd
}

// telco returns the lab that fits a configuration.
func (s *session) telco(cfg *node.Config) (lab.Config, error) {
	telco := lab.Default()
	if cfg.Control == nil || cfg.DNS == nil || cfg.SIP == nil || cfg.HTTP == nil || cfg.Provision == nil || cfg.Metrics == nil {
		return telco, misuse("the lab needs a configuration with control, dns, sip, http, provision and metrics")
	}
	listener := cfg.SIP.Listeners[0]
	telco.Socket, telco.Listener, telco.CA = relative(cfg.Control.Socket), listener.Name, relative(cfg.TLS.Authority)
	telco.DNS, telco.SIP = cfg.DNS.Listen[0], listener.UDP
	telco.HTTP, telco.HTTPS = cfg.HTTP.Listen, cfg.HTTP.TLS
	telco.DoT = netip.AddrPort{}
	if len(cfg.DNS.TLS.Listen) > 0 {
		telco.DoT = cfg.DNS.TLS.Listen[0]
	}
	telco.Provision, telco.Metrics = cfg.Provision.Listen, cfg.Metrics.Listen
	telco.Command, telco.Out = os.Args[0], s.out
	return telco, nil
}

// relative shortens a path for people, when it lies below the working folder.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(wd, path)
	if err != nil || !filepath.IsLocal(short) {
		return path
	}
	return short
}

// lab runs the appliance and the telco. The telco ends first, so that its phones can say good-bye.
func (s *session) lab(ctx context.Context, cfg *node.Config, telco lab.Config) error {
	log := cfg.Log.Logger(s.errs)
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the phones' SIP stack has things to say that help nobody here
	n, err := node.New(cfg, log)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	both, visiting := errgroup.WithContext(ctx)
	both.Go(func() error { return n.Run(serving) })
	both.Go(func() error {
		defer stop()
		select {
		case <-n.Ready():
		case <-visiting.Done():
			return nil
		}
		return lab.Run(visiting, telco, log)
	})
	return both.Wait()
}
