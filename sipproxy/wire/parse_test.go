package wire_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"tandem/sipproxy/wire"
)

// torture reads the messages of testdata/torture, whose README says how they are written.
func torture(t testing.TB) map[string][2]string {
	t.Helper()
	files, err := filepath.Glob("testdata/torture/*.txt")
	if err != nil || len(files) < 51 {
		t.Fatalf("%d torture messages, %v", len(files), err)
	}
	octet := regexp.MustCompile(`\\x[0-9A-F]{2}`)
	out := make(map[string][2]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want, msg, _ := strings.Cut(string(text), "\n---\n")
		msg = strings.ReplaceAll(msg, "\n", "\r\n")
		msg = strings.ReplaceAll(msg, `\LF`, "\n")
		msg = octet.ReplaceAllStringFunc(msg, func(s string) string {
			n, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(n)})
		})
		out[strings.TrimSuffix(filepath.Base(f), ".txt")] = [2]string{want, msg}
	}
	return out
}

func TestTorture(t *testing.T) {
	for name, c := range torture(t) {
		t.Run(name, func(t *testing.T) {
			m, fault := wire.Parse(c[1])
			got := "ok"
			if fault != nil {
				got = strconv.Itoa(fault.Code)
			}
			if got != c[0] {
				t.Fatalf("Parse = %v, want %s", fault, c[0])
			}
			if fault != nil && strings.Contains(name, "insuf") && !m.Answerable() {
				t.Error("has a Via and cannot be answered")
			}
			if fault == nil {
				again(t, m)
			}
		})
	}
}

// again checks that what was parsed writes to something that parses to the same.
func again(t *testing.T, m *wire.Message) {
	t.Helper()
	text := string(m.Append(nil))
	n, fault := wire.Parse(text)
	if fault != nil {
		t.Fatalf("written message does not parse: %v\n%q", fault, text)
	}
	second := string(n.Append(nil))
	if second != text {
		t.Errorf("written message is read differently:\n%q\n%q", text, second)
	}
}

const plain = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK1, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2\r\n" +
	"Route: <sip:a.example.com;lr>,<sip:b.example.com;lr>\r\n" +
	"f: \"A, B\" <sip:alice@example.com>;tag=a1\r\nt: <sip:bob@example.com>\r\ni: c1\r\nCSeq: 7 INVITE\r\n" +
	"Max-Forwards: 70\r\nX-Odd:  \"quoted; semicolon\" ;p=\"q\" \r\nl: 4\r\n\r\nbodyand more"

func TestParseReads(t *testing.T) {
	m, fault := wire.Parse(plain)
	if fault != nil {
		t.Fatal(fault)
	}
	if want := (wire.Via{Transport: "UDP", Host: "192.0.2.1", Port: 5062, Branch: "z9hG4bK1", HasRPort: true}); m.Via != want {
		t.Errorf("Via = %+v, want %+v", m.Via, want)
	}
	if got, want := m.Values(wire.NameVia), []string{"SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK1", "SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2"}; !cmp.Equal(got, want) {
		t.Errorf("Via values: %s", cmp.Diff(want, got))
	}
	if got := len(m.Values(wire.NameRoute)); got != 2 {
		t.Errorf("%d Route values, want 2", got)
	}
	if m.From.Display != `"A, B"` || m.From.Tag != "a1" || m.From.URI != "sip:alice@example.com" {
		t.Errorf("From = %+v", m.From)
	}
	if m.Body != "body" || m.CSeq != 7 || m.CallID != "c1" || m.MaxForwards != 70 {
		t.Errorf("body %q, CSeq %d, Call-ID %q, Max-Forwards %d", m.Body, m.CSeq, m.CallID, m.MaxForwards)
	}
	if !strings.Contains(string(m.Append(nil)), "\r\nX-Odd: \"quoted; semicolon\" ;p=\"q\"\r\n") {
		t.Error("an unknown field was altered")
	}
}

func TestStamp(t *testing.T) {
	for _, c := range []struct{ name, via, want string }{
		{"rport asked for", "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1;rport=4000"},
		{"another address", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.1"},
		{"a name", "SIP/2.0/UDP pc.example.com:5070", "SIP/2.0/UDP pc.example.com:5070;received=192.0.2.1"},
		{"a lie", "SIP/2.0/UDP 192.0.2.1;received=203.0.113.9;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1"},
		{"nothing to say", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, fault := wire.Parse("OPTIONS sip:x@example.com SIP/2.0\r\nVia: " + c.via + "\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n")
			if fault != nil {
				t.Fatal(fault)
			}
			m.Stamp("192.0.2.1", 4000)
			if got := m.Get(wire.NameVia); got != c.want {
				t.Errorf("Via = %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseURI(t *testing.T) {
	for _, c := range []struct {
		uri  string
		want wire.URI
		ok   bool
	}{
		{"sip:alice@example.com", wire.URI{Scheme: "sip", User: "alice", Host: "example.com"}, true},
		{"SIPS:a:pw@[2001:db8::1]:5061;transport=tls?x=y", wire.URI{Scheme: "sips", User: "a", Password: "pw", Host: "[2001:db8::1]", Port: 5061, Params: ";transport=tls", Headers: "x=y"}, true},
		{"sip:example.com;lr", wire.URI{Scheme: "sip", Host: "example.com", Params: ";lr"}, true},
		{"tel:+4930100;phone-context=x", wire.URI{Scheme: "tel", Opaque: "+4930100;phone-context=x"}, true},
		{"urn:service:sos", wire.URI{Scheme: "urn", Opaque: "service:sos"}, true},
		{"sip:", wire.URI{}, false},
		{"sip:@example.com", wire.URI{}, false},
		{"sip:a@b@example.com", wire.URI{}, false},
		{"sip:a@example.com:0", wire.URI{}, false},
		{"sip:a@example.com:70000", wire.URI{}, false},
		{"sip:a@exa mple.com", wire.URI{}, false},
		{"sip:a%4@example.com", wire.URI{}, false},
		{"sip:a@example.com;;lr", wire.URI{}, false},
		{"sip:a@[::1", wire.URI{}, false},
		{"1sip:a@b", wire.URI{}, false},
		{"alice@example.com", wire.URI{}, false},
	} {
		got, err := wire.ParseURI(c.uri)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("ParseURI(%q) = %+v, %v, want %+v, %v", c.uri, got, err, c.want, c.ok)
		}
	}
}

func TestFrame(t *testing.T) {
	ok := "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 3\r\n\r\nabc"
	for _, c := range []struct {
		name, data string
		want       int
		err        error
	}{
		{"whole", ok, len(ok), nil},
		{"whole and more", ok + "INVITE", len(ok), nil},
		{"body missing", ok[:len(ok)-1], 0, nil},
		{"head missing", "OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\n", 0, nil},
		{"compact", "A\r\nl : 0\r\n\r\n", 12, nil},
		{"folded", "A\r\nContent-Length:\r\n  2\r\n\r\nxy", 29, nil},
		{"no length", "A\r\nX: 1\r\n\r\n", 0, wire.ErrNoLength},
		{"two lengths", "A\r\nl: 1\r\nContent-Length: 2\r\n\r\n", 0, wire.ErrNoLength},
		{"negative", "A\r\nl: -1\r\n\r\n", 0, wire.ErrNoLength},
		{"too long a body", "A\r\nl: 70000\r\n\r\n", 0, wire.ErrTooLarge},
		{"too long a head", strings.Repeat("x", wire.MaxMessage), 0, wire.ErrTooLarge},
	} {
		got, err := wire.Frame([]byte(c.data))
		if got != c.want || err != c.err {
			t.Errorf("%s: Frame = %d, %v, want %d, %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestCallID(t *testing.T) {
	for _, text := range []string{"A\r\nCall-ID: x@y\r\n\r\n", "A\r\nV: 1\r\ni:x@y\r\n", "A\r\ncall-id  :\r\n  x@y \r\n\r\n"} {
		if got := string(wire.CallID([]byte(text))); got != "x@y" {
			t.Errorf("CallID(%q) = %q", text, got)
		}
	}
	if got := wire.CallID([]byte("A\r\nX: 1\r\n\r\nCall-ID: body\r\n")); got != nil {
		t.Errorf("found %q in a body", got)
	}
}

// FuzzParse: any octets are refused with a code or read; what is read writes to something that reads
// the same, with the same fields in the same order, and CallID agrees.
func FuzzParse(f *testing.F) {
	f.Add(plain)
	for _, c := range torture(f) {
		f.Add(c[1])
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, fault := wire.Parse(text)
		if fault != nil {
			if fault.Code < 400 || fault.Code > 599 || fault.Reason == "" {
				t.Errorf("fault %+v", fault)
			}
			if m.Answerable() {
				m.Stamp("192.0.2.1", 5060)
				m.Response(fault.Code, fault.Reason, "t").Append(nil)
			}
			return
		}
		if len(text) < 60_000 && len(m.Headers) < 250 {
			again(t, m)
		}
		if id := string(wire.CallID([]byte(strings.TrimLeft(text, "\r\n")))); id != m.CallID && !strings.Contains(m.CallID, " ") {
			t.Errorf("CallID = %q, Parse says %q", id, m.CallID)
		}
	})
}

// FuzzFrame: a stream cut anywhere gives the same messages as the whole.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(plain), 20)
	f.Add([]byte("\r\n\r\nA\r\nl: 2\r\n\r\nxyB\r\nl:0\r\n\r\n"), 7)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		n, err := wire.Frame(data)
		if n < 0 || n > len(data) || n > wire.MaxMessage {
			t.Fatalf("Frame = %d of %d", n, len(data))
		}
		if skip, _ := wire.Keepalive(data); skip < 0 || skip > len(data) {
			t.Fatalf("Keepalive = %d", skip)
		}
		if cut < 0 || cut >= n || err != nil {
			return
		}
		if early, err := wire.Frame(data[:cut]); early != 0 && early != n || err != nil && early != 0 {
			t.Errorf("Frame of the first %d octets = %d, %v; of all %d", cut, early, err, n)
		}
	})
}

// What leaves here must parse in an independent parser too.
func TestSipgoAgrees(t *testing.T) {
	m, fault := wire.Parse(plain)
	if fault != nil {
		t.Fatal(fault)
	}
	msg, err := sip.ParseMessage(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := msg.CallID().Value(); got != m.CallID {
		t.Errorf("sipgo reads Call-ID %q", got)
	}
	if got, _ := msg.Via().Params.Get("branch"); got != m.Via.Branch {
		t.Errorf("sipgo reads branch %q", got)
	}
}

func TestParseAddressTag(t *testing.T) {
	for text, want := range map[string]string{
		"<sip:a@b>;tag=1": "1", "sip:a@b;tag=1": "1", "<sip:a@b;tag=2>;TAG=1;x=y": "1", "<sip:a@b>": "",
	} {
		if a, err := wire.ParseAddress(text); err != nil || a.Tag != want {
			t.Errorf("%s: tag %q, %v, want %q", text, a.Tag, err, want)
		}
	}
	for _, text := range []string{"<sip:a@b>;tag=1;tag=2", "<sip:a@b>;tag=1;Tag=1", "<sip:a@b>;tag="} {
		if a, err := wire.ParseAddress(text); err == nil {
			t.Errorf("%s: tag %q, want an error", text, a.Tag)
		}
	}
}
