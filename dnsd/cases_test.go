package dnsd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/*/cases.txt")

// newServer returns a server that listens on a free port of loopback once told to.
func newServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, NSID: "ns.test"}, Deps{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.UseCookieSecrets([16]byte{1}) // one for all: answers of two servers can be compared
	return s
}

// loadWorld returns a server with the objects of testdata/<world>; <zone>.zone beside them is the
// zone's text. The objects get the revisions 1, 2, 3 and so on.
func loadWorld(t testing.TB, world string) *Server {
	t.Helper()
	s := newServer(t)
	var changes []tandem.Change
	for i, o := range readObjects(t, world) {
		changes = append(changes, tandem.Change{Revision: tandem.Revision(i + 1), Kind: o.Kind(), ID: o.Header().ID, Object: o})
	}
	s.Apply(changes)
	return s
}

func readObjects(t testing.TB, world string) []tandem.Object {
	t.Helper()
	dir := filepath.Join("testdata", world)
	text, err := os.ReadFile(filepath.Join(dir, "objects.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []tandem.Object
	for line := range bytes.Lines(text) {
		var kind struct{ Kind tandem.Kind }
		if err := json.Unmarshal(line, &kind); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		o := tandem.New(kind.Kind)
		if err := json.Unmarshal(line, o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if z, ok := o.(*tandem.Zone); ok {
			records, _ := os.ReadFile(filepath.Join(dir, z.ID+".zone"))
			z.Records = string(records)
			if err := CheckRecords(z); err != nil {
				t.Fatalf("zone %s: %v", z.ID, err)
			}
		}
		if err := o.Validate(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// exchange is one question of a cases file, "? NAME TYPE [tcp] [proven] [edns=SIZE] [do] [from=ADDRESS]".
type exchange struct {
	msg  *dns.Msg
	from client
}

func parseExchange(t testing.TB, line string) exchange {
	t.Helper()
	fields := strings.Fields(line)
	x := exchange{msg: new(dns.Msg), from: client{addr: netip.MustParseAddr("127.0.0.1")}}
	rrtype, ok := dns.StringToType[fields[2]]
	if n, err := strconv.Atoi(strings.TrimPrefix(fields[2], "TYPE")); !ok && err == nil {
		rrtype = uint16(n)
	}
	x.msg.SetQuestion(fields[1], rrtype)
	x.msg.RecursionDesired = false
	for _, f := range fields[3:] {
		value := f[strings.IndexByte(f, '=')+1:]
		switch {
		case f == "proven":
			x.from.proven = true
		case f == "tcp":
			x.from.stream = true
		case strings.HasPrefix(f, "edns="):
			size, _ := strconv.Atoi(value)
			x.msg.SetEdns0(uint16(size), false)
		case strings.HasPrefix(f, "from="):
			x.from.addr = netip.MustParseAddr(value)
		default:
			t.Fatalf("what is %q in %q?", f, line)
		}
	}
	return x
}

// ask returns the answer's octets from handle, having checked that the full path and the fast one
// agree.
func (s *Server) askBoth(t testing.TB, query []byte, c client) []byte {
	t.Helper()
	full, fast, out := make([]byte, 65535), make([]byte, 65535), make([]byte, 65535)
	full = full[:s.model.full(query, full, c)]
	fast = fast[:s.model.fast(query, fast, c)] // the full path has made the records by now
	if len(fast) > 0 {
		diffAnswers(t, query, fast, full)
	}
	return out[:s.handle(&counters{}, query, out, c)]
}

func diffAnswers(t testing.TB, query, fast, full []byte) {
	t.Helper()
	a, b := new(dns.Msg), new(dns.Msg)
	if err := a.Unpack(fast); err != nil {
		t.Fatalf("fast answer does not parse: %v\nquery %x\nanswer %x", err, query, fast)
	}
	if err := b.Unpack(full); err != nil {
		t.Fatalf("full answer does not parse: %v\nquery %x", err, query)
	}
	// Compression points into the question, so names come back in the client's case on either path.
	if !strings.EqualFold(a.String(), b.String()) || a.Question[0] != b.Question[0] {
		t.Fatalf("the paths disagree on %x:\nfast %v\nfull %v", query, a, b)
	}
	if len(fast) > len(full) {
		t.Fatalf("fast answer is longer, %d over %d octets: %v", len(fast), len(full), a)
	}
}

// show writes an answer as cases files hold it.
func show(octets []byte) string {
	if len(octets) == 0 {
		return "silence\n"
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(octets); err != nil {
		return "broken: " + err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", dns.RcodeToString[msg.Rcode])
	for _, f := range []struct {
		set  bool
		name string
	}{{msg.Authoritative, "aa"}, {msg.Truncated, "tc"}, {msg.RecursionAvailable, "ra"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteString("\n")
	for _, section := range []struct {
		name    string
		records []dns.RR
	}{{"answer", msg.Answer}, {"authority", msg.Ns}, {"additional", msg.Extra}} {
		for _, rr := range section.records {
			text := strings.ReplaceAll(rr.String(), "\t", " ")
			if opt, ok := rr.(*dns.OPT); ok {
				text = fmt.Sprintf("OPT %d", opt.UDPSize())
			}
			fmt.Fprintf(&b, "  %-10s %s\n", section.name, text)
		}
	}
	return b.String()
}

// TestCases asks the questions of testdata/*/cases.txt; each is followed by its answer there.
func TestCases(t *testing.T) {
	for _, world := range []string{"rfc", "voice"} {
		t.Run(world, func(t *testing.T) {
			s := loadWorld(t, world)
			path := filepath.Join("testdata", world, "cases.txt")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			lines := bufio.NewScanner(bytes.NewReader(text))
			for lines.Scan() {
				line := lines.Text()
				switch {
				case strings.HasPrefix(line, "? "):
					x := parseExchange(t, line)
					query, err := x.msg.Pack()
					if err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					fmt.Fprintf(&got, "%s\n%s", line, show(s.askBoth(t, query, x.from)))
				case line == "" || line[0] == '#':
					got.WriteString(line + "\n")
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got.String(), "\n")); diff != "" && !*update {
				t.Errorf("answers of %s differ (-want +got):\n%s", world, diff)
			}
		})
	}
}
