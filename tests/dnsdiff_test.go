package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestDNSDifferential asks tandem, NSD, Knot and BIND the same random questions about the same random
// hard zones. Wherever the three say the same, tandem must say it too: rcode, AA, TC, the answer as an
// ordered chain of record sets, SOA or referral in the authority section, and glue.
// TANDEM_DNS_SEED repeats a run.
func TestDNSDifferential(t *testing.T) {
	t.Parallel()
	zones, questions, seed := 80, 150, uint64(1) // the sample is the same each time
	if os.Getenv("TANDEM_LONG") != "" {
		zones, questions, seed = 600, 400, uint64(time.Now().UnixNano())
	}
	if text := os.Getenv("TANDEM_DNS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	d := &dnsDiff{t: t, server: newServer(t), agreed: map[string]int{}}
	d.server.start()
	var all []*hardZone
	var documents strings.Builder
	for n := range zones {
		z := newHardZone(seed, n)
		all = append(all, z)
		text, err := json.Marshal(map[string]any{"kind": "Zone", "id": z.id, "role": "plain", "records": strings.Join(z.text, "\n")})
		if err != nil {
			t.Fatal(err)
		}
		documents.Write(append(text, '\n'))
	}
	if out, code := d.server.run(documents.String(), "apply", "--wait", "-f", "-"); code != 0 {
		t.Fatalf("tandem apply: exit %d\n%s", code, out)
	}
	d.ours = d.server.addr(1) + ":5300"
	for _, p := range dnsPeers() {
		d.peers = append(d.peers, p.start(t, all))
	}
	for _, z := range all {
		for range questions {
			d.compare(z.question())
		}
	}
	t.Logf("%d questions; the peers agreed on %v", zones*questions, d.agreed)
	if d.agreed["answer"] < zones*questions*9/10 {
		t.Errorf("the peers agreed on %d of %d answers only", d.agreed["answer"], zones*questions)
	}
}

// dnsDiff is a comparison under way.
type dnsDiff struct {
	t      *testing.T
	server *server
	ours   string   // address and port
	peers  []string // the same of each
	agreed map[string]int
	faults int
}

// dnsQuestion is one packet to ask with.
type dnsQuestion struct {
	zone   string
	query  []byte
	stream bool
	text   string
}

// question makes a random question about z.
func (z *hardZone) question() dnsQuestion {
	name := z.someName()
	switch z.rng.IntN(8) {
	case 0:
		name = z.randomName(z.apex(), 5)
	case 1:
		if below := strings.Repeat(strings.Repeat("q", 30)+".", 1+z.rng.IntN(6)) + name; nameSize(below) <= 255 {
			name = below
		}
	case 2:
		if len(z.dnames) > 0 {
			name = z.randomName(pick(z.rng, z.dnames...), 2)
		}
	case 3:
		if len(z.cuts) > 0 {
			name = pick(z.rng, "", "ns.", "a.", "*.") + pick(z.rng, z.cuts...)
		}
	}
	kinds := z.types[strings.ToLower(name)]
	if len(kinds) == 0 || z.rng.IntN(3) == 0 {
		kinds = []string{"A", "AAAA", "NS", "SOA", "CNAME", "DNAME", "DS", "TXT", "SRV", "NAPTR", "MX", "HTTPS", "TYPE65400", "TYPE1000", "NSEC", "PTR", "ANY"}
	}
	msg := new(dns.Msg)
	msg.Id, msg.RecursionDesired = uint16(z.rng.Uint32()), z.rng.IntN(4) == 0
	msg.Question = []dns.Question{{Name: z.vary(name), Qtype: typeNumber(pick(z.rng, kinds...)), Qclass: dns.ClassINET}}
	q := dnsQuestion{zone: z.apex(), stream: z.rng.IntN(5) == 0}
	if z.rng.IntN(2) == 0 {
		msg.SetEdns0(pick[uint16](z.rng, 0, 512, 700, 1232, 4096, 65535), z.rng.IntN(3) == 0)
	}
	var err error
	if q.query, err = msg.Pack(); err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	q.text = fmt.Sprintf("%s, tcp %t, %s", msg.Question[0].String(), q.stream, msg.IsEdns0())
	return q
}

func typeNumber(name string) uint16 {
	if n, ok := dns.StringToType[name]; ok {
		return n
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(name, "TYPE"), 10, 16)
	if err != nil {
		panic(err)
	}
	return uint16(n)
}

// compare asks everybody q. Where somebody truncates, TCP decides: how much fits differs with the
// pointers that a server finds, so tandem may send whole what others cut, but never the reverse.
func (d *dnsDiff) compare(q dnsQuestion) {
	if d.faults > 20 {
		return
	}
	ours, theirs := d.askAll(q)
	truncated := 0
	for _, parts := range theirs {
		if parts["tc"] == "true" {
			truncated++
		}
	}
	if ours["tc"] == "true" && truncated == 0 {
		d.fault(q, "is truncated, and no other's")
	}
	if ours["tc"] == "true" || truncated > 0 {
		sent := ours
		q.stream = true
		ours, theirs = d.askAll(q)
		if sent["tc"] != "true" && !maps.Equal(sent, ours) {
			d.fault(q, fmt.Sprintf("over UDP is without TC but differs:\n%v\n%v", sent, ours))
		}
	}
	for part, got := range ours {
		want := theirs[0][part]
		if theirs[1][part] != want || theirs[2][part] != want {
			continue
		}
		d.agreed[part]++
		if got != want {
			d.fault(q, fmt.Sprintf("%s is\n\t%s\nand all others'\n\t%s", part, got, want))
		}
	}
}

func (d *dnsDiff) askAll(q dnsQuestion) (ours map[string]string, theirs []map[string]string) {
	for _, addr := range d.peers {
		theirs = append(theirs, d.ask(addr, q))
	}
	return d.ask(d.ours, q), theirs
}

func (d *dnsDiff) fault(q dnsQuestion, text string) {
	d.faults++
	d.t.Errorf("%s: tandem's answer %s", q.text, text)
}

// ask returns the parts of addr's answer that are compared, in a form that does not depend on order
// within a set, case of names, or serial.
func (d *dnsDiff) ask(addr string, q dnsQuestion) map[string]string {
	octets, err := askOctets(addr, q.query, q.stream)
	if err != nil {
		return map[string]string{"rcode": err.Error()}
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(octets); err != nil {
		return map[string]string{"rcode": err.Error()}
	}
	if addr == d.ours {
		d.checkForm(q, octets, msg)
	}
	authority := slices.DeleteFunc(msg.Ns, func(rr dns.RR) bool { // optional beside an answer
		owner := strings.ToLower(rr.Header().Name)
		return rr.Header().Rrtype == dns.TypeNS && msg.Authoritative && (owner == q.zone || owner == "sub."+q.zone)
	})
	parts := map[string]string{
		"rcode": dns.RcodeToString[msg.Rcode], "aa": fmt.Sprint(msg.Authoritative), "tc": fmt.Sprint(msg.Truncated),
		"answer": setsText(msg.Answer), "authority": setsText(authority),
	}
	if len(authority) > 0 && authority[0].Header().Rrtype == dns.TypeNS {
		cut := strings.ToLower(authority[0].Header().Name)
		parts["glue"] = setsText(slices.DeleteFunc(msg.Extra, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeOPT || !strings.HasSuffix(strings.ToLower(rr.Header().Name), cut)
		}))
	}
	return parts
}

// checkForm checks what needs no comparison: the question comes back as it was, the size is
// bounded, OPT answers OPT, and names in types newer than RFC 1035 are whole (RFC 3597 section 4).
func (d *dnsDiff) checkForm(q dnsQuestion, reply []byte, msg *dns.Msg) {
	asked := new(dns.Msg)
	asked.Unpack(q.query)
	end := 12 + nameSize(asked.Question[0].Name) + 4
	limit, opt := 512, asked.IsEdns0()
	if opt != nil {
		limit = min(max(512, int(opt.UDPSize())), 1232)
	}
	switch {
	case len(reply) < end || !bytes.Equal(reply[12:end], q.query[12:end]):
		d.t.Errorf("%s: the question does not come back as it was", q.text)
	case !q.stream && len(reply) > limit:
		d.t.Errorf("%s: %d octets over UDP, want at most %d", q.text, len(reply), limit)
	case (msg.IsEdns0() != nil) != (opt != nil):
		d.t.Errorf("%s: OPT in question %t, in answer %t", q.text, opt != nil, msg.IsEdns0() != nil)
	}
	for _, rr := range slices.Concat(msg.Answer, msg.Ns, msg.Extra) {
		if h := rr.Header(); h.Rrtype > dns.TypeTXT && h.Rrtype != dns.TypeOPT {
			buf := make([]byte, 70000)
			if n, err := dns.PackRR(rr, buf, 0, nil, false); err != nil || n-nameSize(h.Name)-10 != int(h.Rdlength) {
				d.t.Errorf("%s: %s has %d octets of data, want no compression in it (%d, %v)", q.text, rr, h.Rdlength, n-nameSize(h.Name)-10, err)
			}
		}
	}
}

// setsText writes records as sets in their order, each sorted.
func setsText(records []dns.RR) string {
	var sets []string
	for len(records) > 0 {
		n := 1
		for n < len(records) && dns.IsRRset([]dns.RR{plainRecord(records[0]), plainRecord(records[n])}) {
			n++
		}
		var set []string
		for _, rr := range records[:n] {
			set = append(set, recordText(rr))
		}
		slices.Sort(set)
		sets = append(sets, strings.Join(set, "\n\t"))
		records = records[n:]
	}
	return strings.Join(sets, "\n\t")
}

// plainRecord returns rr with its owner in lower case.
func plainRecord(rr dns.RR) dns.RR {
	rr = dns.Copy(rr)
	rr.Header().Name = strings.ToLower(rr.Header().Name)
	return rr
}

// recordText writes a record with its names in lower case, and its octets where text may hide something.
func recordText(rr dns.RR) string {
	rr = plainRecord(rr)
	switch v := rr.(type) {
	case *dns.SOA:
		v.Serial = 0
	case *dns.NAPTR:
		v.Replacement = strings.ToLower(v.Replacement)
	case *dns.HTTPS:
		v.Target = strings.ToLower(v.Target)
	case *dns.SVCB:
		v.Target = strings.ToLower(v.Target)
	}
	switch rr.Header().Rrtype {
	case dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeSRV, dns.TypeDNAME, dns.TypeRP, dns.TypeAFSDB, dns.TypeKX, dns.TypeLP,
		dns.TypeMINFO, dns.TypeRT:
		return strings.ToLower(rr.String())
	case dns.TypeA, dns.TypeAAAA:
		return rr.String()
	}
	buf := make([]byte, 70000)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	return fmt.Sprintf("%s = %x %v", rr, buf[:n], err)
}
