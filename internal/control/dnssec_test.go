package control_test

import (
	"strings"
	"testing"

	"tandem/internal/control"
)

// TestZoneSigning asks for keys and moves them, and says where that cannot be.
func TestZoneSigning(t *testing.T) {
	d := newDoor(t, nil)
	cases := []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/v1/zones/voice.example.net/dnssec", "", 200, `"state":"submitted"`},
		{"GET", "/v1/zones/none.example.net/dnssec", "", 404, "Zone none.example.net: not found"},
		{"POST", "/v1/zones/voice.example.net/dnssec", `{"act":"roll"}`, 200, `"revision":77`},
		{"POST", "/v1/zones/voice.example.net/dnssec", `{"act":"unsign"}`, 422, "take them out first"},
		{"POST", "/v1/zones/none.example.net/dnssec", `{"act":"roll"}`, 404, "not found"},
	}
	for _, c := range cases {
		if code, body := d.ask(admin, c.method, c.path, c.body); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s %s %s = %d %s, want %d with %s", c.method, c.path, c.body, code, body, c.code, c.says)
		}
	}
	without := newDoor(t, func(_ *control.Config, deps *control.Deps) { deps.Signer = nil })
	if code, body := without.ask(admin, "GET", "/v1/zones/voice.example.net/dnssec", ""); code != 501 || !strings.Contains(body, "without dns") {
		t.Errorf("without a name server: %d %s, want 501", code, body)
	}
}
