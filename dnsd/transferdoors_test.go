package dnsd

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// TestTransferByEveryDoor: a zone that is given over encrypted streams only comes whole, in many messages,
// over TLS between two other queries, and over QUIC on a stream of its own, and not over TCP.
func TestTransferByEveryDoor(t *testing.T) {
	s := secureServer(t)
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "n%d TXT \"%0100d\"\n", i, i)
	}
	s.change(100, tandem.KindZone, "given.test", &tandem.Zone{Head: tandem.Head{ID: "given.test"}, Role: tandem.RolePlain, Records: text.String(),
		Secondaries: []tandem.Secondary{{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: true}}})
	want := contents(t, recordsOf(s.transferred(t, axfr(t, "given.test"), client{addr: netip.MustParseAddr("127.0.0.1"), stream: true, transport: overTLS})))
	query := axfr(t, "given.test")
	query[0], query[1] = 0, 0
	soa := withOptions(t, "rfc.test.", dns.TypeSOA, &dns.EDNS0_PADDING{Padding: []byte{0}})

	secured, err := dialTLS(t, s.AddrsTLS()[0])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"TCP": plain, "TLS": secured} {
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write(slices.Concat(framed(soa), framed(query), framed(soa))); err != nil {
			t.Fatal(err)
		}
		records, rcode := framesUntilSOA(t, conn)
		switch {
		case name == "TCP" && (rcode != dns.RcodeRefused || len(records) > 0):
			t.Errorf("over TCP: %s and %d records, want REFUSED", dns.RcodeToString[rcode], len(records))
		case name == "TLS" && !slices.Equal(contents(t, records), want):
			t.Errorf("over TLS: %d records, want %d", len(records), len(want)+1)
		}
		conn.Close()
	}
	conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
	if err != nil {
		t.Fatal(err)
	}
	b, err := askQUIC(conn, framed(query))
	if err != nil {
		t.Fatal(err)
	}
	var records []dns.RR
	messages := 0
	for r := strings.NewReader(string(b)); r.Len() > 0; messages++ {
		records = append(records, frameOf(t, r).Answer...)
	}
	if messages < 10 || !slices.Equal(contents(t, records), want) {
		t.Errorf("over QUIC: %d records in %d messages, want %d", len(records), messages, len(want)+1)
	}
}

// framesUntilSOA reads an answer with the SOA of another zone, an answer to a transfer and one more SOA, and
// returns the records and the rcode of the one between.
func framesUntilSOA(t *testing.T, r io.Reader) (records []dns.RR, rcode int) {
	t.Helper()
	for soas := 0; soas < 2; {
		m := frameOf(t, r)
		if len(m.Question) > 0 && m.Question[0].Qtype == dns.TypeSOA {
			soas++
			continue
		}
		records, rcode = append(records, m.Answer...), m.Rcode
	}
	return records, rcode
}

func frameOf(t *testing.T, r io.Reader) *dns.Msg {
	t.Helper()
	b, err := readFrame(r)
	m := new(dns.Msg)
	if err == nil {
		err = m.Unpack(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}
