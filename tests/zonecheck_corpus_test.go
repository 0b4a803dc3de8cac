package tests

import (
	"strings"
	"testing"
	"time"
)

// badZones is the corpus of zones that are wrong in one way each.
func badZones() []badZone {
	return []badZone{
		{"no SOA", "$TTL 60\n@ NS ns1\nns1 A 192.0.2.1", "error: has no SOA", true},
		{"no NS", "$TTL 60\n@ SOA ns1 h 1 7200 900 1209600 300\nns1 A 192.0.2.1", "error: has no NS", true},
		{"two SOA", "@ SOA ns2 hostmaster 2 7200 900 1209600 300", "error: a second SOA", false},
		{"SOA below", "sub SOA ns2 hostmaster 2 7200 900 1209600 300", "error: SOA at sub.bad.test.", false},
		{"out of the zone", "www.elsewhere.test. A 192.0.2.1", "error: lies outside", false},
		{"class", "www CH A 192.0.2.1", "error: class", false},
		{"syntax: address", "www A 192.0.2.256", "error: bad A", false},
		{"syntax: IPv6 address", "www AAAA 2001:db8:::1", "error: bad AAAA", false},
		{"syntax: type", "www NOSUCH x", "error: is no type", false},
		{"syntax: data left over", "www A 192.0.2.1 x", "error: left over", false},
		{"syntax: data missing", "www MX 10", "error: bad MX", false},
		{"syntax: number", "www MX 65536 ns1", "error: bad MX", false},
		{"syntax: quote", "www TXT \"open", "error: closing quote", false},
		{"syntax: parenthesis", "www TXT ( \"open\"", "error: ( without its )", false},
		{"syntax: closing parenthesis", "www TXT \"x\" )", "error: ) without", false},
		{"syntax: escape", `www TXT "\256"`, "error: escape", false},
		{"syntax: string of 256", "www TXT " + strings.Repeat("x", 256), "error: string of 256", false},
		{"syntax: label of 64", strings.Repeat("x", 64) + " A 192.0.2.1", "error: label of over 63", false},
		{"syntax: name of 256", strings.Repeat("xxxxxxx.", 30) + "xxxxxxx A 192.0.2.1", "error: 255 are the most", false},
		{"syntax: empty label", "a..b A 192.0.2.1", "error: empty label", false},
		{"syntax: directive", "$FOO x", "error: no directive", false},
		{"syntax: no include", "$INCLUDE nosuchfile", "error: $INCLUDE", false},
		{"syntax: TTL", "www 4294967296 A 192.0.2.1", "error: TTL", false},
		{"syntax: generic length", `www TYPE65400 \# 3 0102`, "error: 2 octets", false},
		{"syntax: generic of a known type", `www A \# 3 010203`, "error: are no A", false},
		{"syntax: base64", "www DNSKEY 257 3 13 !!!", "error: bad DNSKEY", false},
		{"syntax: hexadecimal", "sub DS 1 13 2 xyz\nsub NS ns1", "error: bad DS", false},
		{"syntax: LOC", "www LOC 91 0 0 N 0 0 0 E 0m", "error: bad LOC", false},
		{"syntax: CAA", "www CAA 256 issue \"x\"", "error: bad CAA", false},
		{"syntax: CAA tag", "www CAA 0 is-sue \"x\"", "error: tag", false},
		{"syntax: SVCB key twice", "www SVCB 1 . port=1 port=2", "error: stands twice", false},
		{"syntax: SVCB mandatory", "www HTTPS 1 . mandatory=alpn", "error: mandatory", false},
		{"syntax: SVCB port", "www HTTPS 1 . port=65536", "error: no value", false},
		{"CNAME and A", "www A 192.0.2.1\nwww CNAME ns1", "error: CNAME and A", false},
		{"CNAME and NS", "sub NS ns1\nsub CNAME ns1", "error: CNAME and NS", false},
		{"CNAME at the apex", "@ CNAME www.elsewhere.test.", "error: CNAME and SOA", false},
		{"two CNAME", "www CNAME ns1\nwww CNAME ns2", "error: a second CNAME", false},
		{"two DNAME", "d DNAME ns1\nd DNAME ns2", "error: a second DNAME", false},
		{"two CSYNC", "@ CSYNC 1 3 A\n@ CSYNC 2 3 A", "error: a second CSYNC", false},
		{"two RESINFO", "@ TYPE261 \\# 4 03616263\n@ TYPE261 \\# 4 03616264", "error: a second RESINFO", false},
		{"two NSEC at a name", "a NSEC b A\na NSEC c A", "warning: without a DNSKEY", false},
		{"below DNAME", "d DNAME elsewhere.test.\nx.d A 192.0.2.1", "error: below the DNAME", false},
		{"DNAME and NS", "d DNAME elsewhere.test.\nd NS ns1", "error: DNAME and NS", false},
		{"CNAME and DNAME", "d DNAME elsewhere.test.\nd CNAME ns1", "error: CNAME and DNAME", false},
		{"NS without address", "@ NS ns3", "error: ns3.bad.test., which has no address", false},
		{"NS is an alias", "@ NS ns3\nns3 CNAME ns1", "error: which is an alias", false},
		{"NS is an address", "@ NS 192.0.2.1.", "error: an address and no name", false},
		{"NS is relative address", "@ NS 192.0.2.1", "error: has no address", false},
		{"glue missing", "sub NS ns.sub", "error: glue", false},
		{"glue of a sibling missing", "sub NS ns.sub2\nsub2 NS ns1", "", false},
		{"MX without address", "@ MX 10 mail", "error: mail.bad.test., which has no address", false},
		{"MX is an alias", "@ MX 10 mail\nmail CNAME ns1", "error: which is an alias", false},
		{"MX is an address", "@ MX 10 192.0.2.1.", "error: an address and no name", false},
		{"MX beside none", "@ MX 0 .\n@ MX 10 ns1", "error: takes no mail stands beside", false},
		{"SRV without address", "_sip._udp SRV 0 0 5060 sip", "error: sip.bad.test., which has no address", false},
		{"SRV is an alias", "_sip._udp SRV 0 0 5060 sip\nsip CNAME ns1", "error: which is an alias", false},
		{"SRV beside none", "_sip._udp SRV 0 0 0 .\n_sip._udp SRV 0 0 5060 ns1", "error: offers nothing stands beside", false},
		{"NAPTR with both", `e NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:a@b!" ns1`, "error: exclude each other", false},
		{"NAPTR with neither", `e NAPTR 1 1 "s" "SIP+D2U" "" .`, "error: neither", false},
		{"NAPTR flags", `e NAPTR 1 1 "!" "SIP+D2U" "" ns1`, "error: no letters", false},
		{"NAPTR delimiter", `e NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:a@b" .`, "error: three delimiters", false},
		{"NAPTR expression", `e NAPTR 1 1 "u" "E2U+sip" "!^(.*$!sip:a@b!" .`, "error: does not compile", false},
		{"NAPTR group", `e NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:\\1@b!" .`, "error: a group that is not there", false},
		{"NAPTR u without expression", `e NAPTR 1 1 "u" "E2U+sip" "" ns1`, "error: flag U", false},
		{"owner is no host", "under_score A 192.0.2.1", "error: no name for a host", false},
		{"owner of MX is no host", "under_score MX 10 ns1", "error: no name for a host", false},
		{"NS is no host", "@ NS under_score.elsewhere.test.", "error: no name for a host", false},
		{"MX is no host", "@ MX 10 under_score.elsewhere.test.", "error: no name for a host", false},
		{"wildcard NS", "*.sub NS ns1", "error: NS at the wildcard", false},
		{"DS without NS", "sub DS 1 13 2 " + strings.Repeat("ab", 32), "error: DS without NS", false},
		{"DS at the apex", "@ DS 1 13 2 " + strings.Repeat("ab", 32), "error: DS at the apex", false},
		{"DS of a wrong length", "sub NS ns1\nsub DS 1 13 2 abcd", "error: digest of 2 octets", false},
		{"DNSKEY protocol", "@ DNSKEY 257 4 13 " + strings.Repeat("AAAA", 21) + "AA==", "error: protocol", false},
		{"CDS below", "sub CDS 1 13 2 " + strings.Repeat("ab", 32), "error: is not the apex", false},
		{"NSEC3PARAM algorithm", "@ NSEC3PARAM 2 0 0 -", "error: hash algorithm", false},
		{"SOA mailbox", "$TTL 60\n@ SOA ns1 host\\@example.net. 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1", "error: mailbox", true},
		{"ZONEMD wrong", "@ ZONEMD 1 1 1 " + strings.Repeat("ab", 48), "error: does not fit the zone", false},
		{"ZONEMD of another serial", "@ ZONEMD 2 1 1 " + strings.Repeat("ab", 48), "error: is not the SOA's", false},
		{"TTLs differ", "www 60 A 192.0.2.1\nwww 61 A 192.0.2.2", "warning: differs from its set's", false},
		{"twice the same", "www A 192.0.2.1\nwww A 192.0.2.1", "warning: the same record", false},
		{"hidden data", "sub NS ns1\nx.sub TXT x", "warning: is hidden", false},
		{"hidden address", "sub NS ns1\nx.sub A 192.0.2.1", "warning: no NS needs it", false},
		{"alias to nowhere", "www CNAME nowhere", "warning: not in the zone", false},
		{"aliases in a ring", "a CNAME b\nb CNAME a", "warning: leads back", false},
		{"one name server", "$TTL 60\n@ SOA ns1 h 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1", "warning: one name server", true},
		{"SOA timers", "$TTL 60\n@ SOA ns1 h 1 7200 900 60 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.1", "warning: expire", true},
		{"two SPF", "@ TXT \"v=spf1 -all\"\n@ TXT \"v=spf1 a -all\"", "warning: a second SPF", false},
		{"SPF only", "@ SPF \"v=spf1 -all\"", "warning: none of type TXT", false},
		{"CAA tag unknown", "@ CAA 0 foo \"x\"", "warning: no registered tag", false},
		{"unsigned NSEC", "www NSEC ns1 A", "warning: without a DNSKEY", false},
	}
}

type goodZoneCase struct{ name, text string }

// goodZones are zones without fault.
func goodZones(t *testing.T) []goodZoneCase {
	rich := goodZone + `@ MX 10 mail
@ TXT "v=spf1 mx -all"
@ CAA 0 issue "ca.example"
mail A 192.0.2.25
mail AAAA 2001:db8::25
www CNAME mail
*.wild A 192.0.2.9
a.b.c TXT "deep"
_sip._udp SRV 0 100 5060 mail
_none._udp SRV 0 0 0 .
nomail MX 0 .
e164 NAPTR 100 10 "u" "E2U+sip" "!^(.*)$!sip:\\1@example.net!" .
d NAPTR 100 10 "S" "SIP+D2U" "" _sip._udp
sub NS ns.sub
sub NS ns1
sub DS 12345 13 2 ` + strings.Repeat("ab", 32) + `
ns.sub A 192.0.2.7
old DNAME elsewhere.test.
old TXT "beside"
https HTTPS 1 . alpn=h2
x TYPE65400 \# 3 010203
`
	end := time.Now().Add(240 * time.Hour)
	return []goodZoneCase{
		{"small", goodZone}, {"rich", rich},
		{"signed with NSEC", signed(t, rich, end)},
		{"signed with NSEC3", signed(t, rich, end, "-3", "-")},
		{"signed with NSEC3 and opt-out", signed(t, rich, end, "-3", "-", "-A")},
	}
}
