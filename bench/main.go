// Command bench measures tandem beside its peers: programs of other makers that do the same work,
// run in turns with it on the same machine, so that the ratios mean something where the numbers
// alone do not; and, for what no peer does alike, how fast it sees to calls and nodes. It prints its conditions and then a line for each figure:
//
//	figure NAME VALUE UNIT goal RELATION VALUE
//
// with "- -" for a figure without a goal. docs/benchmarks.md says how the figures are made.
//
// It imports nothing of the rooms: tandem is measured as a process, from outside.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are what the command line sets.
type options struct {
	rounds   int
	accounts int
	seconds  float64
	tandem   string // the binary
	peers    string // where Debian's daemons are unpacked
	rate     int    // calls a second
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	const usage = "usage: bench dns|scale|sip|lb [flags]"
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 3, "interleaved rounds")
	flags.IntVar(&o.accounts, "accounts", 100_000, "accounts served")
	flags.Float64Var(&o.seconds, "seconds", 3, "length of one run")
	flags.StringVar(&o.tandem, "tandem", "./tandem", "the binary to measure")
	flags.StringVar(&o.peers, "peers", "", "directory of the unpacked peers (tests/debian.sh peers prints it)")
	flags.IntVar(&o.rate, "rate", 300, "calls a second")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tandem-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	switch args[0] {
	case "dns":
		return benchDNS(ctx, o, dir)
	case "scale":
		return benchScale(ctx, o, dir)
	case "sip":
		return benchSIP(ctx, o, dir)
	case "lb":
		return benchBalance(ctx, o, dir)
	}
	return fmt.Errorf("%s", usage)
}
