package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// session is what the commands of one run share.
type session struct {
	in      io.Reader
	out     io.Writer
	errs    io.Writer
	socket  string
	wait    bool
	started bool // flags and arguments were fine
	client  *control.Client
	columns int // of the page that is drawn for a terminal; zero: see width
}

const rootHelp = `Tandem is a voice edge: account-based DNS, SIP proxy and registrar, HTTP forwarding and
provisioning in one program.

tandem serve runs it; the other commands look at a running one and change it, over its unix
socket. Objects are documents in YAML or JSON Lines: tandem explain lists their kinds.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad documents, 3 not found, 4 conflict,
5 no tandem reachable.`

const rootExample = `  tandem apply -f telco.yaml
  tandem get accounts
  tandem explain account.routes
  tandem dns trace alpha.voice.example.net`

// newRoot builds the whole command.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use: "tandem", Short: "A voice edge appliance", Long: rootHelp, Example: rootExample,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { s.started = true },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	socket := "run/tandem.sock"
	if named := os.Getenv("TANDEM_SOCKET"); named != "" {
		socket = named
	}
	flags.StringVar(&s.socket, "socket", socket, "unix socket of the running tandem; also set by TANDEM_SOCKET")
	root.AddCommand(
		newServe(s), newLab(s),
		newApply(s), newGet(s), newDelete(s), newDiff(s), newExplain(s),
		newStatus(s), newDNS(s), group("zone", "Look at zones among name servers", zoneStateCommands(s)...), newSIP(s), newCall(s), newEvents(s), newAccount(s), newDevice(s),
		newLB(s), newCluster(s), newNode(s), newStore(s),
		newVersion(s), newOpenAPI(s),
	)
	return root
}

// door returns the client of the running tandem.
func (s *session) door() *control.Client {
	if s.client == nil {
		s.client = control.NewClient(s.socket)
	}
	return s.client
}

// waitFlag adds --wait to a command that changes something.
func (s *session) waitFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.wait, "wait", true, "return only when every part serves the change")
}

// served waits for a revision when the user wants it.
func (s *session) served(ctx context.Context, rev tandem.Revision) error {
	if !s.wait || rev == 0 {
		return nil
	}
	return s.door().Wait(ctx, rev)
}

// printf writes to standard output.
func (s *session) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// group makes a command that only holds others.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("%q is not a command of %s; %s --help lists them", args[0], cmd.CommandPath(), cmd.CommandPath())
			}
			return misuse("%s needs one of its commands; %s --help lists them", cmd.CommandPath(), cmd.CommandPath())
		},
	}
	cmd.AddCommand(below...)
	return cmd
}

// between is a command's arguments when there are so many.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		wanted := strings.TrimPrefix(cmd.Use, cmd.Name())
		if most == 0 {
			wanted = " no arguments"
		}
		return fmt.Errorf("%s takes%s; %s given; %s --help shows examples", cmd.CommandPath(), wanted, plural(len(args), "argument"), cmd.CommandPath())
	}
}

// none is a command's arguments when there are none.
func none(cmd *cobra.Command, args []string) error { return between(0, 0)(cmd, args) }

// outputFlag adds -o with the given default.
func outputFlag(cmd *cobra.Command, form *string, fallback string) {
	*form = fallback
	cmd.Flags().VarP((*outputForm)(form), "output", "o", "table, yaml or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "yaml", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// outputForm is a flag that takes only the forms there are.
type outputForm string

func (f *outputForm) String() string { return string(*f) }
func (*outputForm) Type() string     { return "form" }

// Set takes table, yaml or json.
func (f *outputForm) Set(text string) error {
	switch text {
	case "table", "yaml", "json":
		*f = outputForm(text)
		return nil
	}
	return fmt.Errorf("%q is not table, yaml or json", text)
}

// show writes v as YAML or JSON, or as the table that its caller makes.
func (s *session) show(form string, v any, rows func() table) error {
	if form == "table" {
		t := rows()
		t.print(s.out, s.width())
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	if form == "yaml" {
		if data, err = control.YAML(data); err != nil {
			return err
		}
		_, err = s.out.Write(data)
		return err
	}
	s.printf("%s\n", data)
	return nil
}

// width returns how wide the terminal is, zero when the output is none.
func (s *session) width() int {
	if s.columns > 0 {
		return s.columns
	}
	f, ok := s.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil {
		return n
	}
	return 80
}

// fold prints a line, on a terminal that is narrower in parts that end where it has semicolons.
func (s *session) fold(line string) {
	if w := s.width(); w > 0 && utf8.RuneCountInString(line) > w {
		line = strings.ReplaceAll(line, "; ", ";\n  ")
	}
	s.printf("%s\n", line)
}

// kindArg reads a kind as people write it.
func kindArg(name string) (tandem.Kind, error) {
	if k, ok := control.ParseKind(name); ok {
		return k, nil
	}
	return "", misuse("%q is not a kind: %s", name, strings.Join(kindNames(), ", "))
}

func kindNames() []string {
	var names []string
	for _, k := range tandem.Kinds() {
		names = append(names, strings.ToLower(string(k)))
	}
	return names
}
