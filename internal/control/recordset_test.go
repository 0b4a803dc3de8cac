package control_test

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

// TestRecordSets gives record sets, by an account and by the operator; each is applied to what the
// ones before left.
func TestRecordSets(t *testing.T) {
	d := newDoor(t, nil)
	const zone = "voice.example.net"
	cases := []struct {
		name    string
		by      tandem.Principal
		account string
		owner   string
		rrtype  string
		records string
		want    string // "" for success, else part of the refusal
	}{
		{"below its label", tenant, "a1", "_acme-challenge.alpha." + zone, "TXT", "x", ""},
		{"at its label", tenant, "a1", "alpha." + zone, "TXT", "x", ""},
		{"at another's label", tenant, "a1", "bravo." + zone, "TXT", "x", "does not lie at or below a label of account a1"},
		{"below another's label", tenant, "a1", "_acme-challenge.bravo." + zone, "TXT", "x", "does not lie at or below a label of account a1"},
		{"ends like its label", tenant, "a1", "xalpha." + zone, "TXT", "x", "does not lie at or below a label of account a1"},
		{"at the apex", tenant, "a1", zone, "TXT", "x", "does not lie at or below a label of account a1"},
		{"for another account", tenant, "b1", "bravo." + zone, "TXT", "x", "not found"},
		{"for nobody", tenant, "", "alpha." + zone, "CAA", "x", "not found"},
		{"the operator's, anywhere", admin, "", "www." + zone, "TXT", "x", ""},
		{"the operator's, for an account elsewhere", admin, "a1", "www2." + zone, "TXT", "x", "does not lie at or below a label of account a1"},
		{"an alias beside other sets", admin, "", "www." + zone, "CNAME", "x", "CNAME stands alone"},
		{"an alias beside a name that begins alike", admin, "", "www3." + zone, "CNAME", "x", ""},
		{"beside an alias", admin, "", "www3." + zone, "A", "x", "CNAME stands alone"},
		{"a tombstone beside an alias", admin, "", "www3." + zone, "AAAA", "", ""},
		{"records that the server refuses", admin, "", "www." + zone, "MX", "!", "! is not data"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			document := fmt.Sprintf("kind: RecordSet\nid: %s:%s\nzone: %s\nname: %s\ntype: %s\n", c.owner, c.rrtype, zone, c.owner, c.rrtype)
			if c.records != "" {
				document += "records: [\"" + c.records + "\"]\n"
			}
			if c.account != "" {
				document += "account: " + c.account + "\n"
			}
			status, body := d.ask(c.by, "POST", "/v1/apply", document)
			if c.want == "" && status != 200 || c.want != "" && (status == 200 || !strings.Contains(body, c.want)) {
				t.Errorf("%d %s, want %q", status, body, c.want)
			}
		})
	}
}
