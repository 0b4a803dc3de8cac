package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/internal/node"
)

const serveHelp = `Runs the parts that a configuration file names, until it is told to end (SIGTERM or Ctrl-C).

A section that is absent from the file is a part that does not run. Relative paths in it begin at the
file's own folder. The log goes to standard error.`

func newServe(s *session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve [-c FILE]", Short: "Run the appliance", Long: serveHelp,
		Example: "  tandem serve -c /etc/tandem/tandem.yaml",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.serve(cmd.Context(), file)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// configFlag adds -c.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "tandem.yaml", "configuration file")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // the flag exists
}

func (s *session) serve(ctx context.Context, file string) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	defer signal.Stop(asked)
	before, err := node.Inherit()
	if err != nil {
		return err
	}
	cfg, err := node.Load(file)
	if err != nil {
		return before.Fail(err)
	}
	makeRoom(cfg)
	n, err := node.New(cfg, cfg.Log.Logger(s.errs))
	if err != nil {
		return before.Fail(err)
	}
	n.Succeeds(before, asked)
	signal.Ignore(syscall.SIGHUP) // nobody's calls end because a terminal was closed or a log turned over
	return n.Run(ctx)
}

// makeRoom adds a processor of Go's scheduler for each UDP socket of the name server, which keeps one
// while it waits for the next query (dnsd/batch): everyone else has as many as before. It is done
// once, for the whole process, before anything runs.
func makeRoom(cfg *node.Config) {
	if cfg.DNS == nil {
		return
	}
	cpus := runtime.GOMAXPROCS(0)
	if cfg.DNS.Workers == 0 {
		cfg.DNS.Workers = cpus
	}
	runtime.GOMAXPROCS(cpus + len(cfg.DNS.Listen)*max(0, cfg.DNS.Workers) + len(cfg.DNS.Proxy.Listen))
}
