package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// answer is what dig showed of one reply.
type answer struct {
	status     string
	flags      []string
	answer     []string // records, blanks folded: "name ttl IN TYPE data"
	authority  []string
	additional []string
	text       string // all of it
}

// dig asks tandem with BIND's dig.
func (s *server) dig(args ...string) answer {
	s.t.Helper()
	base := []string{"@" + s.addr(1), "-p", "5300", "+norec", "+time=2", "+tries=1"}
	return readDig(s.t, "dig", append(base, args...))
}

// kdig asks tandem with Knot's kdig.
func (s *server) kdig(args ...string) answer {
	s.t.Helper()
	base := []string{"@" + s.addr(1), "-p", "5300", "+norec", "+time=2", "+retry=0"}
	return readDig(s.t, "kdig", append(base, args...))
}

func readDig(t testing.TB, program string, args []string) answer {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return parseDig(string(out))
}

// parseDig reads the form that dig and kdig print alike.
func parseDig(text string) answer {
	a := answer{text: text}
	var section *[]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ";;"):
			a.readHeader(strings.TrimSpace(strings.TrimLeft(line, ";")))
			switch {
			case strings.Contains(line, "ANSWER SECTION"):
				section = &a.answer
			case strings.Contains(line, "AUTHORITY SECTION"):
				section = &a.authority
			case strings.Contains(line, "ADDITIONAL SECTION"):
				section = &a.additional
			case strings.Contains(line, "SECTION"):
				section = nil
			}
		case line == "" || strings.HasPrefix(line, ";") || section == nil:
		default:
			*section = append(*section, strings.Join(strings.Fields(line), " "))
		}
	}
	return a
}

// readHeader takes status and flags from a comment line of either program.
func (a *answer) readHeader(line string) {
	for part := range strings.SplitSeq(line, ";") {
		part = strings.TrimSpace(part)
		if _, status, ok := strings.Cut(part, "status: "); ok {
			a.status = strings.TrimSuffix(strings.Fields(status)[0], ",")
		}
		flags, ok := strings.CutPrefix(strings.ToLower(part), "flags:")
		if ok && a.flags == nil {
			a.flags = append([]string{}, strings.Fields(flags)...)
		}
	}
}

func (a answer) hasFlag(flag string) bool { return slices.Contains(a.flags, flag) }

// data returns the data of the answer's records of a type, sorted.
func (a answer) data(kind string) []string {
	var data []string
	for _, record := range a.answer {
		fields := strings.Fields(record)
		if len(fields) > 4 && fields[3] == kind {
			data = append(data, strings.Join(fields[4:], " "))
		}
	}
	slices.Sort(data)
	return data
}

// chain follows NAPTR, SRV and A from a name as RFC 3263 says, for one transport, and returns the
// address and port first in order, and the names passed on the way.
func (s *server) chain(name, service string) (target string, passed []string) {
	s.t.Helper()
	host, port := "", ""
	for _, record := range s.dig(name, "NAPTR").data("NAPTR") {
		fields := strings.Fields(record) // order preference flags service regexp replacement
		if fields[3] == `"`+service+`"` && strings.EqualFold(fields[2], `"s"`) {
			host = fields[5]
			break
		}
	}
	if host == "" {
		return "", nil
	}
	passed = append(passed, host)
	srv := s.dig(host, "SRV").data("SRV")
	if len(srv) == 0 {
		return "", passed
	}
	fields := strings.Fields(srv[0])
	port, host = fields[2], fields[3]
	passed = append(passed, host)
	addresses := s.dig(host, "A").data("A")
	if len(addresses) == 0 {
		return "", passed
	}
	return addresses[0] + ":" + port, passed
}

func TestParseDig(t *testing.T) {
	got := parseDig(`;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4
;; flags: qr aa; QUERY: 1, ANSWER: 1
;; ANSWER SECTION:
a.example.	30	IN	A	192.0.2.1

;; AUTHORITY SECTION:
`)
	if got.status != "NOERROR" || !got.hasFlag("aa") || got.hasFlag("ra") || !slices.Equal(got.data("A"), []string{"192.0.2.1"}) {
		t.Errorf("parseDig = %+v", got)
	}
	got = parseDig(`;; ->>HEADER<<- opcode: QUERY; status: NXDOMAIN; id: 7
;; Flags: qr aa; QUERY: 1; ANSWER: 0

;; AUTHORITY SECTION:
example.	30	IN	SOA	ns. h. 1 2 3 4 5
`)
	if got.status != "NXDOMAIN" || !got.hasFlag("aa") || len(got.authority) != 1 || len(got.answer) != 0 {
		t.Errorf("parseDig = %+v", got)
	}
}
