package zonecheck

import (
	"strings"
	"testing"
)

// TestZoneDigest verifies the zone of RFC 8976 appendix A.1, and the same with one octet changed.
func TestZoneDigest(t *testing.T) {
	zone := `$TTL 86400
example. SOA ns1 admin 2018031900 1800 900 604800 86400
 NS ns1
 NS ns2
 ZONEMD 2018031900 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c
ns1 3600 A 203.0.113.63
ns2 3600 AAAA 2001:db8::63
`
	tests := []struct {
		name, text string
		want       int
	}{
		{"as published", zone, 0},
		{"another address", strings.Replace(zone, "113.63", "113.64", 1), 1},
		{"another TTL", strings.Replace(zone, "ns1 3600", "ns1 3601", 1), 1},
		{"another case", strings.Replace(zone, "NS ns2", "NS NS2", 1), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report, err := Check(strings.NewReader(test.text), Options{Origin: "example"})
			if err != nil || report.Errors() != test.want {
				t.Errorf("Check = %v, %v, want %d errors", report, err, test.want)
			}
		})
	}
}

// TestOrigin: without an origin the SOA's owner is the apex; what lies elsewhere is outside.
func TestOrigin(t *testing.T) {
	text := "$TTL 60\na.test. SOA ns h.x. 1 7200 900 1209600 300\na.test. NS ns.x.\na.test. NS ns.y.\n"
	report, err := Check(strings.NewReader(text), Options{})
	if err != nil || report.Origin != "a.test" || len(report.Findings) != 0 {
		t.Errorf("Check = %+v, %v, want a.test without a finding", report, err)
	}
	report, err = Check(strings.NewReader(text+"b.test. A 192.0.2.1\n"), Options{File: "f"})
	if err != nil || len(report.Findings) != 1 || report.Findings[0].String() != "f:5: error: b.test. lies outside a.test. (RFC 1035 section 5.2)" {
		t.Errorf("Check = %+v, %v, want b.test outside", report, err)
	}
	if _, err = Check(strings.NewReader(text), Options{Origin: "a..b"}); err == nil {
		t.Error("an origin that is no name is taken")
	}
}

// FuzzCheck: no text makes a check fail, and one without a finding of ours has an apex with SOA and NS.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"@ SOA a b 1 2 3 4 5\n@ NS c.\n", "a CNAME a\n", "d DNAME d\n", "a NAPTR 1 1 \"u\" \"\" \"!(!\" .\n", "@ NSEC3PARAM 1 0 0 -\n", "@ ZONEMD 1 1 1 00\n",
		"@ DNSKEY 257 3 13 AAAA\n@ RRSIG A 13 1 1 20300101000000 20200101000000 1 . AAAA\n@ NSEC . A\n", "00 NSEC3 1 0 0 - 00 A\n", "@ DS 1 1 1 00\n", "@ CAA 0 a \"\"\n",
		"@ DNSKEY 257 3 13 AAAA\n@ RRSIG A 13 1 1 20300101000000 20200101000000 1 . AAAA\n@ NSEC3PARAM 1 0 0 -\n00 NSEC3 1 0 0 - 00 A\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "$GENERATE") {
			return
		}
		report, err := Check(strings.NewReader(text), Options{Origin: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) == 0 && report.Records < 3 {
			t.Errorf("%q gives no finding with %d records", text, report.Records)
		}
	})
}
