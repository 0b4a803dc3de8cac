package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/node"
	"tandem/internal/rehearsal"
	"tandem/internal/tandem"
)

const labLBHelp = `Plays a day of calls through the real balancing in a few seconds, and shows load and quality of each
cluster and which groups moved: what if cluster 3 dies at noon, or a limit is another? Nothing of the
running tandem is changed.

The clusters, nodes and groups are those of the running tandem, of a file (-f), or made up (--groups,
--clusters, --nodes). The calls are made up, as many as the groups expect unless --calls-per-hour says
otherwise, or recorded ones (--calls, a file that tandem call export --format jsonl wrote).

--event says what happens, once for each: a time, or from-to for what is over then, and one of
  lose X        it falls silent and its calls are cut     restore X   all is well with it again
  slow X xN     everything takes it N times longer        fail X N%   it refuses N % of its calls
  drain X, out X   it gets no new calls                    where X is a node or a whole cluster
  expected GROUP=N   permitted GROUP=N   quality GROUP=N   pin GROUP=CLUSTER   capacity CLUSTER=N
--set takes the same without a time: it holds all day. --compare plays the day a second time without
events and settings and shows the difference.

A node sets calls up one after the other in --set-up each, and holds its share of its cluster's
capacity; from 90 % of it on it answers slower, beyond it with errors. It is probed twice a second
and reports its load. Times are of the day that is played; recorded calls are in UTC.`

const labLBExample = `  tandem lab lb --groups 200 --clusters 5 --nodes 4 --event "12:00 lose cluster3" --svg noon.svg
  tandem lab lb -f telco.yaml --event "09:30-10:15 slow west1 x50" --from 09:00 --to 11:00
  tandem lab lb --calls monday.jsonl --set "permitted globex-group=20" --compare
  tandem lab lb --calls-per-hour 9000 --spread 1.2 --quality-low 65 -o json`

// tryout is what tandem lab lb was asked for.
type tryout struct {
	*session
	bar            progress
	file, config   string
	recorded, date string
	from, to       string
	form, drawing  string
	events, set    []string
	compare        bool
	shape          rehearsal.Shape
	traffic        rehearsal.Traffic
	same, cross    float64 // percent
	fill           float64 // percent
	machines       rehearsal.Machines
	trial          rehearsal.Trial
	changed        func(flag string) bool
}

func newLabLB(s *session) *cobra.Command {
	t := &tryout{session: s, bar: progress{session: s}}
	cmd := &cobra.Command{
		Use: "lb", Short: "Play a day of calls through the balancing: what if?", Long: labLBHelp, Example: labLBExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.changed = cmd.Flags().Changed
			return t.run(cmd.Context())
		},
	}
	t.inputFlags(cmd)
	t.settingFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&t.drawing, "svg", "", "draw the outcome into this file")
	f.BoolVar(&t.compare, "compare", false, "play the day without events and settings too, and show the difference")
	outputFlag(cmd, &t.form, "table")
	t.bar.flag(cmd)
	return cmd
}

// inputFlags are those for what is played.
func (t *tryout) inputFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&t.file, "file", "f", "", "take clusters, nodes, groups and accounts from this file of documents")
	f.IntVar(&t.shape.Groups, "groups", 200, "make up so many groups")
	f.IntVar(&t.shape.Clusters, "clusters", 5, "make up so many clusters")
	f.IntVar(&t.shape.Nodes, "nodes", 4, "make up so many nodes a cluster")
	f.Float64Var(&t.shape.Zipf, "zipf", 1.1, "how unequal made-up groups are: exponent of Zipf's law")
	f.Float64Var(&t.fill, "fill", 75, "percent of the made-up clusters' capacity that groups expect to use")
	f.Float64Var(&t.traffic.PerHour, "calls-per-hour", 0, "calls in the busiest hour; 0: as the groups expect, or 10,000 for made-up ones")
	f.DurationVar(&t.traffic.Talk, "talk", 3*time.Minute, "mean length of made-up calls")
	f.Float64Var(&t.same, "same-group", 25, "percent of made-up calls within a group")
	f.Float64Var(&t.cross, "cross-group", 15, "percent of made-up calls from a group to another")
	f.StringVar(&t.recorded, "calls", "", "play recorded calls: a file of tandem call export --format jsonl")
	f.StringVar(&t.date, "day", "", "which day of the recording, YYYY-MM-DD; default that of its first call")
	f.StringVar(&t.from, "from", "00:00", "begin at this time of the day")
	f.StringVar(&t.to, "to", "24:00", "end at this time of the day")
	f.Uint64Var(&t.traffic.Seed, "seed", 1, "the same seed makes up the same; another, another day")
	for flag, ends := range map[string][]string{"calls": {"jsonl", "ndjson"}, "file": {"yaml", "yml", "json", "jsonl"}} {
		_ = cmd.MarkFlagFilename(flag, ends...) // the flag exists
	}
}

// settingFlags are those for what is tried.
func (t *tryout) settingFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&t.events, "event", nil, `what happens, such as "12:00 lose cluster3"`)
	f.StringArrayVar(&t.set, "set", nil, `what holds all day, such as "permitted group5=100"`)
	f.StringVarP(&t.config, "config", "c", "", "configuration file whose lb section holds; default its defaults")
	f.Float64Var(&t.trial.Spread, "spread", 0, "how unevenly clusters may be filled before groups move for that alone, such as 1.2")
	f.Float64Var(&t.trial.Low, "quality-low", 0, "quality below which a node closes")
	f.Float64Var(&t.trial.High, "quality-high", 0, "quality from which it opens again")
	f.BoolVar(&t.trial.UnknownQualifies, "unknown-qualifies", false, "what was not measured serves groups with a minimum quality")
	f.DurationVar(&t.machines.SetUp, "set-up", 20*time.Millisecond, "that a node takes to set a call up")
	f.IntVar(&t.machines.Calls, "node-calls", 250, "calls at once that a node holds when its cluster states no capacity")
	f.BoolVar(&t.machines.Quiet, "no-load-reports", false, "nodes do not report their load")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // the flag exists
}

func (t *tryout) run(ctx context.Context) error {
	cfg := rehearsal.Config{Machines: t.machines, Seed: t.traffic.Seed}
	if err := t.configured(&cfg); err != nil {
		return err
	}
	plain := cfg.Balance
	cfg.Try(t.trial)
	if err := t.times(&cfg); err != nil {
		return misuse("%v", err)
	}
	t.bar.start()
	defer t.bar.end()
	heading, err := t.input(ctx, &cfg)
	if err != nil {
		return err
	}
	result, err := t.play(ctx, cfg)
	if err != nil {
		return err
	}
	if t.compare {
		cfg.Events, cfg.Balance = nil, plain
		if result.Without, err = t.play(ctx, cfg); err != nil {
			return err
		}
	}
	t.bar.end()
	return t.tell(result, rehearsal.Telling{Heading: heading, Width: t.width(), Low: cfg.Low()})
}

// configured takes the lb section of the configuration file, if one is named.
func (t *tryout) configured(cfg *rehearsal.Config) error {
	if t.config == "" {
		return nil
	}
	file, err := node.Load(t.config)
	if err != nil {
		return err
	}
	if file.LB != nil {
		cfg.Balance = file.LB.Config
	}
	return nil
}

// times reads the part of the day, and what happens in it.
func (t *tryout) times(cfg *rehearsal.Config) (err error) {
	if cfg.From, err = rehearsal.ParseTime(t.from); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if cfg.To, err = rehearsal.ParseTime(t.to); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	for _, text := range t.set {
		e, err := rehearsal.ParseSetting(text)
		if err != nil {
			return err
		}
		cfg.Events = append(cfg.Events, e)
	}
	for _, text := range t.events {
		e, err := rehearsal.ParseEvent(text)
		if err != nil {
			return err
		}
		cfg.Events = append(cfg.Events, e)
	}
	return nil
}

// play plays once.
func (t *tryout) play(ctx context.Context, cfg rehearsal.Config) (*rehearsal.Result, error) {
	result, err := rehearsal.Run(ctx, cfg, func(calls int) { t.bar.at("play", int64(calls), int64(len(cfg.Calls))) })
	if err != nil && !errors.Is(err, ctx.Err()) {
		return nil, misuse("%v", err)
	}
	return result, err
}

// tell shows the outcome, and draws it if asked to.
func (t *tryout) tell(result *rehearsal.Result, how rehearsal.Telling) error {
	if t.drawing != "" {
		f, err := os.Create(t.drawing)
		if err != nil {
			return fmt.Errorf("draw the outcome: %w", err)
		}
		err = result.SVG(f, how)
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("draw the outcome: %w", e)
		}
		if err != nil {
			return err
		}
	}
	if t.form != "table" {
		return t.show(t.form, result, nil)
	}
	return result.Text(t.out, how)
}

// input gathers objects and calls, and says in a line what they are.
func (t *tryout) input(ctx context.Context, cfg *rehearsal.Config) (heading string, err error) {
	t.traffic.SameGroup, t.traffic.CrossGroup, t.traffic.From, t.traffic.To = t.same/100, t.cross/100, cfg.From, cfg.To
	var whose string
	if cfg.Telco, whose, err = t.telco(ctx); err != nil {
		return "", err
	}
	if err := cfg.Telco.Validate(); err != nil {
		return "", misuse("%v", err)
	}
	calls := fmt.Sprintf("calls made up, seed %d", t.traffic.Seed)
	if t.recorded != "" {
		calls, cfg.Calls, err = t.replay(cfg.Telco)
	} else {
		cfg.Calls, err = t.makeCalls(cfg.Telco)
	}
	x := cfg.Telco
	return fmt.Sprintf("%s, %s, %s%s; %s", plural(len(x.Clusters), "cluster"), plural(len(x.Nodes), "node"), plural(len(x.Groups), "group"), whose, calls), err
}

// telco returns the objects, and whose they are.
func (t *tryout) telco(ctx context.Context) (telco *rehearsal.Telco, whose string, err error) {
	telco = new(rehearsal.Telco)
	madeUp := t.changed("groups") || t.changed("clusters") || t.changed("nodes")
	switch {
	case t.file != "" && madeUp:
		return nil, "", misuse("-f gives the objects: --groups, --clusters and --nodes make them up")
	case t.file != "":
		return telco, " of " + t.file, t.readFile(ctx, telco)
	case madeUp:
		if t.shape.Fill, t.shape.Seed = t.fill/100, t.traffic.Seed; t.traffic.PerHour == 0 {
			t.traffic.PerHour = 10_000
		}
		for _, err := range []error{t.shape.Validate(), t.traffic.Validate()} {
			if err != nil {
				return nil, "", misuse("%v", err)
			}
		}
		return t.shape.Telco(t.traffic.Busiest()), ", made up", nil
	}
	return telco, "", t.askRunning(ctx, telco)
}

// readFile takes the objects of a file.
func (t *tryout) readFile(ctx context.Context, telco *rehearsal.Telco) error {
	f, err := os.Open(t.file)
	if err != nil {
		return misuse("%v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return misuse("%s is not a file of documents", t.file)
	}
	objects, err := control.ReadObjects(ctx, t.file, f, info.Size())
	for _, o := range objects {
		telco.Add(o)
	}
	return err
}

// askRunning takes the objects of the running tandem; accounts only when recorded calls need them.
func (t *tryout) askRunning(ctx context.Context, telco *rehearsal.Telco) error {
	kinds := []tandem.Kind{tandem.KindCluster, tandem.KindNode, tandem.KindGroup}
	if t.recorded != "" {
		kinds = append(kinds, tandem.KindAccount)
	}
	for _, k := range kinds {
		for after := ""; ; {
			page, err := t.door().List(ctx, k, "", after, 1000)
			if err != nil {
				return err
			}
			for _, item := range page.Items {
				o := tandem.New(k)
				if err := json.Unmarshal(item, o); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				telco.Add(o)
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	return nil
}

// makeCalls makes calls up; as many as the groups expect at seven tenths of that, unless told.
func (t *tryout) makeCalls(telco *rehearsal.Telco) ([]rehearsal.Call, error) {
	if t.traffic.PerHour == 0 {
		sum := 0
		for _, g := range telco.Groups {
			if g.Expected != nil {
				sum += *g.Expected
			}
		}
		if t.traffic.PerHour = t.traffic.PerHourFor(0.7 * float64(sum)); sum == 0 {
			return nil, misuse("no group says what it expects: --calls-per-hour says how many calls there are")
		}
	}
	if err := t.traffic.Validate(); err != nil {
		return nil, misuse("%v", err)
	}
	return t.traffic.Calls(telco.Groups), nil
}

// replay reads recorded calls. What is left out is told on standard error.
func (t *tryout) replay(telco *rehearsal.Telco) (what string, calls []rehearsal.Call, err error) {
	var day time.Time
	if t.date != "" {
		if day, err = time.Parse(time.DateOnly, t.date); err != nil {
			return "", nil, misuse("--day %q is not a day: YYYY-MM-DD", t.date)
		}
	}
	f, err := os.Open(t.recorded)
	if err != nil {
		return "", nil, misuse("%v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := rehearsal.ReadCalls(f, telco, day)
	if err != nil {
		return "", nil, misuse("%s: %v", t.recorded, err)
	}
	var left []string
	for _, x := range []struct {
		n    int
		what string
	}{{r.OffDay, "of other days"}, {r.Unknown, "of groups that are not among the objects"}, {r.Joined, "that continue another one"}} {
		if x.n > 0 {
			left = append(left, fmt.Sprintf("%s %s", thousands(int64(x.n)), x.what))
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(t.errs, "left out: calls %s\n", strings.Join(left, ", "))
	}
	return "calls of " + r.Day.Format(time.DateOnly), r.Calls, nil
}
