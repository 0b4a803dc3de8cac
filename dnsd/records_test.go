package dnsd

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

func TestCheckRecords(t *testing.T) {
	tests := []struct {
		name, records, want string
	}{
		{"nothing", "", ""},
		{"good", "$TTL 60\nwww A 192.0.2.1\n@ MX 10 www\n", ""},
		{"absolute names", "www.plain.test. A 192.0.2.1\n", ""},
		{"unknown type as in RFC 3597", "x TYPE65400 \\# 2 0102\n", ""},
		{"over several lines", "@ SOA ns host (\n 1 2 3\n 4 5 )\nwww A 192.0.2.1\n", ""},
		{"the same twice", "www A 192.0.2.1\nwww A 192.0.2.1\n", ""},
		{"bad address", "a A 192.0.2.1\nwww A nonsense\n", "line 2: bad A"},
		{"no type", "www\n", "line 1: "},
		{"unknown mnemonic", "\n\nwww NOSUCHTYPE 1\n", "line 3: "},
		{"outside", "a A 192.0.2.1\nwww.other.test. A 192.0.2.1\n", "line 2: www.other.test. lies outside plain.test"},
		{"include", "$INCLUDE /etc/passwd\n", "line 1: "},
		{"class", "www CH TXT x\n", "line 1: class CH is not IN"},
		{"SOA below", "a A 192.0.2.1\n\nx SOA ns host 1 2 3 4 5\n", "line 3: SOA at x.plain.test., which is not the apex"},
		{"two SOA", "@ SOA ns host 1 2 3 4 5\n@ SOA ns2 host 1 2 3 4 5\n", "line 2: a second SOA"},
		{"CNAME and data", "www A 192.0.2.1\nwww CNAME a\n", "line 2: CNAME and other records"},
		{"data and CNAME", "www CNAME a\nwww A 192.0.2.1\n", "line 2: CNAME and other records"},
		{"two CNAME", "www CNAME a\nwww CNAME b\n", "line 2: a second CNAME"},
		{"CNAME at the apex", "@ CNAME a\n", "line 1: CNAME at the apex"},
		{"two DNAME", "d DNAME a\nd DNAME b\n", "line 2: a second DNAME"},
		{"the same in another spelling", "www CNAME a\n\\119WW CNAME \\097\n", ""},
		{"TTL of 31 bits", "a 2147483647 A 192.0.2.1\n", ""},
		{"TTL of 32 bits", "\na 2147483648 A 192.0.2.1\n", "line 2: TTL 2147483648 is over 2147483647"},
		{"$TTL of 32 bits", "$TTL 4294967295\na A 192.0.2.1\n", "line 1: TTL 4294967295 is over"},
		{"no name", " A 192.0.2.1\n", "line 1: no name"},
		{"no data", "a A 192.0.2.1\nb TXT\n", "line 2: bad TXT: no data"},
		{"no octets of data", "a CNAME \\# 0\n", "line 1: "},
		{"data of meta type", "a TYPE249 \\# 0\n", "line 1: type TKEY cannot be stored"},
		{"data too long", "a TXT" + strings.Repeat(" "+strings.Repeat("a", 255), 256) + "\n", "line 1: TXT cannot be sent: "},
		{"set as large as can be", "$GENERATE 0-3600 a TXT \"$\"\n", ""},
		{"set too large", "\n$GENERATE 0-65535 a TXT \"$\"\n", "line 2: a.plain.test. TXT has more records than an answer can hold"},
		{"generated", "$GENERATE 1-1000 a$ A 192.0.2.1\n", ""},
		{"generated without end", strings.Repeat("$GENERATE 0-65535 a$ A 192.0.2.1\n", 100), "line 2: $GENERATE makes more than 65536 records"},
		{"label too long", strings.Repeat("a", 64) + " A 192.0.2.1\n", "line 1: "},
		{"name too long", strings.Repeat("aaaaaaaaa.", 26) + " A 192.0.2.1\n", "line 1: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // some take seconds
			err := CheckRecords(&tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: test.records})
			if test.want == "" {
				if err != nil {
					t.Errorf("CheckRecords = %v, want nil", err)
				}
				return
			}
			var fault tandem.FieldError
			if !errors.As(err, &fault) || fault.Field != "records" || !strings.HasPrefix(fault.Reason, test.want) {
				t.Errorf("CheckRecords = %v, want records: %s", err, test.want)
			}
		})
	}
}

func TestCheckRecordsKnowsTheNameServers(t *testing.T) {
	z := &tandem.Zone{
		Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: "@ NS ns.other.test.\n",
		NameServers: []tandem.NameServer{{Name: "ns1.other.test"}},
	}
	if err := CheckRecords(z); err == nil || !strings.Contains(err.Error(), "nameServers") {
		t.Errorf("CheckRecords = %v, want a fault that names nameServers", err)
	}
	z.Records = "a A 192.0.2.1\nns1 CNAME a\n"
	z.NameServers[0].Name = "ns1.plain.test"
	if err := CheckRecords(z); err == nil || !strings.Contains(err.Error(), "line 2: CNAME at ns1.plain.test., which is one of") {
		t.Errorf("CheckRecords = %v, want a fault in line 2", err)
	}
	z.NameServers, z.Records = nil, "@ NS ns.other.test.\n"
	if err := CheckRecords(z); err != nil {
		t.Errorf("CheckRecords = %v, want nil", err)
	}
}

// FuzzRecords: text that is accepted makes a zone whose every record is answered as it stands.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		"www A 192.0.2.1\n", "$TTL 60\n@ MX 10 www\n", "*.w TXT a\n", "d DNAME e\nx CNAME y\n", "s NS ns.s\nns.s A 192.0.2.1\n",
		"a\\.b TXT \"\\000\\255\"\n", "x TYPE1234 \\# 1 ff\n", "$GENERATE 1-3 h$ A 192.0.2.$\n", "n NAPTR 1 2 \"u\" \"s\" \"!a!b!\" .\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "$GENERATE") && len(text) > 40 {
			return // a few octets of it make 65,536 records, which takes a second
		}
		z := &tandem.Zone{Head: tandem.Head{ID: "plain.test"}, Role: tandem.RolePlain, Records: text}
		if CheckRecords(z) != nil {
			return
		}
		s := newServer(t)
		s.change(1, tandem.KindZone, z.ID, z)
		zone := s.model.zoneOf(mustKey(t, z.ID))
		for key, n := range zone.tree {
			for _, set := range n.sets {
				r := s.model.lookup(zone, question{name: present(key), key: key, rrtype: set[0].Header().Rrtype})
				if r.rcode != dns.RcodeSuccess && len(r.answer) == 0 {
					t.Errorf("%s %s is not answered: %v", present(key), dns.Type(set[0].Header().Rrtype), r)
				}
			}
		}
	})
}
