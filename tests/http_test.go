package tests

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// D10: an HTTP request to the account's name is taken by the edge and forwarded to that account's
// HTTP feature server.
func TestD10(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.web(8, "east")
	s.web(10, "west")
	ask := func(host string) (string, string) {
		return s.curl("--resolve", host+":8080:"+s.addr(1), "http://"+host+":8080/calls?x=1")
	}
	for host, want := range map[string]string{"alpha.voice.example.net": "east", "bravo.voice.example.net": "west"} {
		addresses := s.dig(host, "A").data("A")
		if len(addresses) != 1 || addresses[0] != s.addr(1) {
			t.Errorf("dig %s A = %q, want the edge %s", host, addresses, s.addr(1))
		}
		code, body := ask(host)
		if code != "200" || !strings.HasPrefix(body, want+" GET "+host) || !strings.HasSuffix(body, "/calls") {
			t.Errorf("http://%s: %s %q, want 200 from %s with the host as asked", host, code, body, want)
		}
	}
	if code, body := s.curl("-k", "--resolve", "alpha.voice.example.net:8443:"+s.addr(1), "https://alpha.voice.example.net:8443/x"); code != "200" || !strings.HasPrefix(body, "east ") {
		t.Errorf("https: %s %q, want 200 from east", code, body)
	}
	// Twins: the route moves it; an unknown host is misdirected; no server, no guess at another's.
	s.must("account", "repoint", "1001", "http", "--cluster", "west")
	if _, body := ask("alpha.voice.example.net"); !strings.HasPrefix(body, "west ") {
		t.Errorf("repointed: %q, want west", body)
	}
	if code, _ := ask("nosuch.voice.example.net"); code != "421" {
		t.Errorf("unknown account: %s, want 421", code)
	}
	s.apply(s.local(`{kind: Node, id: east1, cluster: east, addresses: [NET.8], ports: {udp: 5060}}`))
	s.apply(s.local(`{kind: Node, id: east2, cluster: east, addresses: [NET.9], ports: {udp: 5060}}`))
	s.must("account", "repoint", "1001", "http", "--cluster", "east")
	if code, body := ask("alpha.voice.example.net"); code != "502" && code != "503" {
		t.Errorf("no HTTP server: %s %q, want 502 or 503", code, body)
	}
}

// D3: a device's configuration names exactly its account's inbound name as its server, and no
// address; its URL works once.
func TestD3(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	settings, text := s.profile("phone-a")
	want := profile{Server: "alpha.voice.example.net", Username: "alice", Password: "alice-secret", Realm: "tandem-1001"}
	if settings != want {
		t.Errorf("the profile's settings are %+v, want %+v", settings, want)
	}
	if strings.Contains(text, s.block) || regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`).MatchString(text) {
		t.Errorf("the profile holds an address: %s", text)
	}
	// Twin: another account's device names another server.
	if other, _ := s.profile("phone-c"); other.Server != "bravo.voice.example.net" {
		t.Errorf("phone-c's server is %q, want bravo.voice.example.net", other.Server)
	}
	url := strings.TrimSpace(s.must("device", "provisioning-url", "phone-a"))
	if code, _ := s.curl("-k", url); code != "200" {
		t.Errorf("first fetch: %s, want 200", code)
	}
	if code, _ := s.curl("-k", url); code != "404" && code != "410" {
		t.Errorf("second fetch: %s, want it gone", code)
	}
	if code, _ := s.curl("-k", url[:len(url)-6]+"aaaaaa"); code != "404" {
		t.Errorf("a guessed URL: %s, want 404", code)
	}
}

// profile is what a device's configuration says about SIP.
type profile struct{ Server, Username, Password, Realm string }

// profile fetches a device's configuration by a fresh one-time URL, and returns its text too.
func (s *server) profile(device string) (profile, string) {
	s.t.Helper()
	url := strings.TrimSpace(s.must("device", "provisioning-url", device))
	if !strings.HasPrefix(url, "https://") {
		s.t.Fatalf("tandem device provisioning-url printed %q, want an https URL", url)
	}
	code, body := s.curl("-k", url)
	var document struct{ SIP profile }
	if err := json.Unmarshal([]byte(body), &document); code != "200" || err != nil {
		s.t.Fatalf("%s: %s %q, %v", url, code, body, err)
	}
	return document.SIP, body
}

// D14: an account moves to another connection point: dig and the next device configuration agree.
func TestD14(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if target, _ := s.chain("alpha.voice.example.net", "SIP+D2U"); target != s.addr(1)+":5060" {
		t.Errorf("before the move: %q, want %s", target, s.addr(1))
	}
	s.must("account", "move", "1001", "--edges", "edge2")
	target, passed := s.chain("alpha.voice.example.net", "SIP+D2U")
	if target != s.addr(2)+":5060" {
		t.Errorf("moved: %q by %q, want %s", target, passed, s.addr(2))
	}
	settings, _ := s.profile("phone-a")
	if again, _ := s.chain(settings.Server, "SIP+D2U"); again != target {
		t.Errorf("the configuration's server %q leads to %q, dig says %q", settings.Server, again, target)
	}
	// The port moves alike, and the old edge goes on serving those who still use it.
	s.edit("Edge", "edge2", map[string]any{"ports": map[string]any{"udp": 5066, "tcp": 5066}})
	if target, _ := s.chain("alpha.voice.example.net", "SIP+D2U"); target != s.addr(2)+":5066" {
		t.Errorf("another port: %q, want %s:5066", target, s.addr(2))
	}
	s.feature(8, "uas_any")
	s.phone(100, "uac_request", fromAlice("MESSAGE")).succeed()
	// Twin: the neighbour did not move.
	if target, _ := s.chain("bravo.voice.example.net", "SIP+D2U"); target != s.addr(1)+":5060" {
		t.Errorf("account 1002 moved too, to %q", target)
	}
}
