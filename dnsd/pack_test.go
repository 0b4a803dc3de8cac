package dnsd

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestPackIgnoresCase: an NSEC question under a DNAME whose owner is spelled in another case than
// the question fits into 512 octets, as it does at other servers.
func TestPackIgnoresCase(t *testing.T) {
	long := strings.Repeat("l", 63)
	owner := "dN." + long + ".SUB." + long + ".tesT."
	asked := "x." + strings.ToLower(owner)
	tests := []struct {
		name    string
		records []string
		want    int // octets, header and question left out
	}{
		{"owner in another case", []string{owner + " 5 DNAME ."}, 2 + 10 + 1},
		{"target in another case", []string{asked + " 5 CNAME Y." + owner}, 2 + 10 + 4},
		{"newer types are whole", []string{asked + " 5 DNAME test."}, 2 + 10 + 6},
		{"another name is whole", []string{"other. 5 CNAME nowhere."}, 7 + 10 + 9},
		{"the root takes no pointer", []string{asked + " 5 CNAME ."}, 2 + 10 + 1},
		{"both names of SOA", []string{asked + " 5 SOA ns.TEST. host.tEst. 1 2 3 4 5"}, 2 + 10 + 5 + 7 + 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			msg := new(dns.Msg)
			msg.SetQuestion(asked, dns.TypeNSEC)
			for _, text := range test.records {
				msg.Answer = append(msg.Answer, mustRR(t, text))
			}
			out := make([]byte, 512)
			n := packMessage(msg, out)
			if got := n - headerSize - len(asked) - 1 - 4; got != test.want {
				t.Errorf("packed into %d octets beside the question, want %d", got, test.want)
			}
			if n = packMessage(msg, out[:n-1]); n != 0 {
				t.Errorf("packed %d octets into less room than they need", n)
			}
		})
	}
}

// TestPackAsTheLibrary: what the packer writes decodes to what the library writes, never longer.
func TestPackAsTheLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := []string{
		"a.test. 1 A 192.0.2.1", "b.a.test. 1 NS a.test.", "c.test. 1 MX 5 b.a.test.", "test. 1 SOA a.test. b.test. 1 2 3 4 5",
		"x.test. 1 SRV 1 2 3 a.test.", "x.test. 1 NAPTR 1 2 \"s\" \"x\" \"\" a.test.", "p.test. 1 PTR p.p.test.", "m.test. 1 MINFO a.test. p.test.",
		"t.test. 1 TXT \"" + strings.Repeat("t", 200) + "\"", "r.test. 1 RP a.test. b.test.", "n.test. 1 NSEC a.test. A NS", ". 1 NS .",
	}
	for range 2000 {
		msg := new(dns.Msg)
		msg.SetQuestion("a.b.test.", dns.TypeA)
		msg.Response, msg.Compress, msg.Authoritative, msg.Truncated, msg.CheckingDisabled = true, true, rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0
		for range rng.IntN(120) {
			section := []*[]dns.RR{&msg.Answer, &msg.Ns, &msg.Extra}[rng.IntN(3)]
			*section = append(*section, mustRR(t, texts[rng.IntN(len(texts))]))
		}
		if rng.IntN(2) == 0 {
			msg.SetEdns0(1232, true)
			msg.Rcode = rng.IntN(20)
		}
		theirs, err := msg.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out := make([]byte, 65535)
		n := packMessage(msg, out)
		var a, b dns.Msg
		if err := a.Unpack(out[:n]); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		if err := b.Unpack(theirs); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*dns.Msg{&a, &b} {
			for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
				for _, rr := range section {
					rr.Header().Rdlength = 0
				}
			}
		}
		if n > len(theirs) || !reflect.DeepEqual(a, b) {
			t.Fatalf("%d octets, the library's %d:\n%s\nwant\n%s", n, len(theirs), &a, &b)
		}
	}
}

func mustRR(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}
