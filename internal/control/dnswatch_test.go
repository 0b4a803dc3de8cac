package control_test

import (
	"net/http"
	"strings"
	"testing"

	"tandem/internal/control"
)

// TestDNSWatch: what is asked is answered as asked; what cannot be is refused with its reason; names of
// customers are for administrators alone; without a name server both say so.
func TestDNSWatch(t *testing.T) {
	d := newDoor(t, nil)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/v1/dns/stats", 200, `{"series":[{"name":"tandem_dnsd_zones","help":"","total":2}]}`},
		{"/v1/dns/top", 200, `{"by":"name","seconds":10,"queries":0,"every":20,"items":[]}`},
		{"/v1/dns/top?by=client&for=500ms&limit=3", 200, `{"by":"client","seconds":0.5,"queries":0,"every":3,"items":[]}`},
		{"/v1/dns/top?by=zone", 503, "8 watch already"},
		{"/v1/dns/top?by=colour", 400, "by:"},
		{"/v1/dns/top?for=61s", 400, "for:"},
		{"/v1/dns/top?for=-1s", 400, "for:"},
		{"/v1/dns/top?for=soon", 400, "for:"},
		{"/v1/dns/top?limit=1001", 400, "limit:"},
	} {
		if code, body := d.ask(admin, http.MethodGet, c.path, ""); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, body, c.code, c.want)
		}
	}
	for _, path := range []string{"/v1/dns/stats", "/v1/dns/top"} {
		if code, body := d.ask(tenant, http.MethodGet, path, ""); code != http.StatusForbidden {
			t.Errorf("%s for a tenant: %d %s", path, code, body)
		}
		bare := newDoor(t, func(_ *control.Config, d *control.Deps) { d.DNSStats, d.DNSTop = nil, nil })
		if code, body := bare.ask(admin, http.MethodGet, path, ""); code != http.StatusNotImplemented {
			t.Errorf("%s without dns: %d %s", path, code, body)
		}
	}
}
