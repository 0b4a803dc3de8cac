package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Exit codes, and messages that say what, where and what to do.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var account map[string]any
	s.object("Account", "1001", &account)
	stale := func(revision any) string {
		document := map[string]any{"kind": "Account", "revision": revision}
		for _, field := range []string{"id", "zone", "labels", "group", "numbers", "digest"} {
			document[field] = account[field]
		}
		text, _ := json.Marshal(document)
		return string(text)
	}
	cases := []struct {
		name, stdin string
		args        []string
		code        int
		want        string
	}{
		{"done", "", []string{"get", "Account", "1001"}, 0, "1001"},
		{"not found", "", []string{"get", "Account", "9999"}, 3, "9999"},
		{"delete what is not there", "", []string{"delete", "Account", "9999"}, 3, "9999"},
		{"no such command", "", []string{"frobnicate"}, 2, "frobnicate"},
		{"no such flag", "", []string{"get", "Account", "--frobnicate"}, 2, "frobnicate"},
		{"no such kind", "", []string{"get", "Banana"}, 2, "Banana"},
		{"missing argument", "", []string{"delete", "Account"}, 2, ""},
		{"no such output form", "", []string{"get", "Account", "-o", "xml"}, 2, "xml"},
		{"conflict", stale(1), []string{"apply", "-f", "-"}, 4, "1001"},
		{"current revision", stale(account["revision"]), []string{"apply", "-f", "-"}, 0, ""},
		{"in use", "", []string{"delete", "Cluster", "east"}, 1, "east"},
		{"bad field", "kind: Group\nid: bronze\nclutser: east\n", []string{"apply", "-f", "-"}, 2, "clutser"},
		{"bad value", "kind: Node\nid: n\ncluster: east\naddresses: [300.1.1.1]\nports: {udp: 5060}\n", []string{"apply", "-f", "-"}, 2, "addresses"},
		{"reference to nothing", "kind: Group\nid: bronze\ncluster: south\n", []string{"apply", "-f", "-"}, 2, "south"},
		{"number out of range", "kind: Node\nid: n\ncluster: east\naddresses: [192.0.2.1]\nports: {udp: 70000}\n", []string{"apply", "-f", "-"}, 2, "70000"},
		{"not YAML", "kind: [\n", []string{"apply", "-f", "-"}, 2, ""},
		{"no kind", "id: x\n", []string{"apply", "-f", "-"}, 2, "kind"},
		{"explain", "", []string{"explain", "Account.routes"}, 0, "forwarding names"},
		{"explain nothing", "", []string{"explain", "Account.banana"}, 3, "banana"},
		{"completion", "", []string{"completion", "bash"}, 0, "complete"},
	}
	for _, c := range cases {
		out, code := s.run(c.stdin, c.args...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: tandem %s: exit %d, want %d and %q in\n%s", c.name, strings.Join(c.args, " "), code, c.code, c.want, out)
		}
		if strings.Contains(out, "goroutine ") {
			t.Errorf("%s: printed a trace\n%s", c.name, out)
		}
	}
}

// A file is checked whole before the first write, and the fault names file, line, field and reason.
func TestApplyIsWhole(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	file := s.path("objects.yaml")
	text := "kind: Group\nid: bronze\ncluster: east\n---\nkind: Group\nid: tin\ncluster: [east]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := s.run("", "apply", "-f", file)
	if code != 2 || !strings.Contains(out, "objects.yaml:7") || !strings.Contains(out, "cluster") {
		t.Errorf("apply of a file with a fault in line 7: exit %d\n%s", code, out)
	}
	if _, code := s.run("", "get", "Group", "bronze"); code != 3 {
		t.Errorf("the good object before the fault was written: exit %d, want 3", code)
	}
	// Twin: mended, both are there; applying again changes nothing; diff says so.
	if err := os.WriteFile(file, []byte(strings.Replace(text, "[east]", "east", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := s.run("", "diff", "-f", file); code > 1 || !strings.Contains(out, "tin") {
		t.Errorf("diff before: exit %d\n%s", code, out)
	}
	s.must("apply", "-f", file)
	var first, second map[string]any
	s.object("Group", "tin", &first)
	s.must("apply", "-f", file)
	s.object("Group", "tin", &second)
	if first["revision"] != second["revision"] {
		t.Errorf("applied again, the revision went from %v to %v", first["revision"], second["revision"])
	}
	if out := s.must("diff", "-f", file); strings.Contains(out, "tin") {
		t.Errorf("diff after:\n%s", out)
	}
	for _, form := range []string{"json", "yaml", "table"} {
		if out := s.must("get", "Group", "-o", form); !strings.Contains(out, "bronze") || !strings.Contains(out, "gold") {
			t.Errorf("get Group -o %s:\n%s", form, out)
		}
	}
}

// Secrets are never shown.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, form := range []string{"json", "yaml", "table"} {
		if out := s.must("get", "Device", "-o", form); strings.Contains(out, "alice-secret") || strings.Contains(strings.ToLower(out), "ha1") {
			t.Errorf("get Device -o %s shows a secret:\n%s", form, out)
		}
	}
	h := s.handset(100, "alice")
	h.login(dialogue{method: "REGISTER", from: alice, to: alice, uri: "sip:alpha.voice.example.net"}, "MD5", "alice-secret")
	if strings.Contains(s.log(), "alice-secret") {
		t.Error("the log holds a secret")
	}
}

// Accounts by the thousand from JSON Lines: 5,000 here, 100,000 in the long run.
func TestBulkApply(t *testing.T) {
	s := startServer(t)
	count, least := 5000, 1000.0
	if os.Getenv("TANDEM_LONG") != "" {
		count, least = 100_000, 5000
	}
	path := s.path("accounts.jsonl")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	for i := range count {
		fmt.Fprintf(w, `{"kind":"Account","id":"b%06d","zone":"voice.example.net","labels":[{"label":"c%06d"}],"group":"gold"}`+"\n", i, i)
	}
	w.Flush()
	file.Close()
	start := time.Now()
	s.must("apply", "--wait", "-f", path)
	rate := float64(count) / time.Since(start).Seconds()
	t.Logf("%d accounts at %.0f a second", count, rate)
	if rate < least {
		t.Errorf("%.0f objects a second, want %.0f even on a busy machine", rate, least)
	}
	for _, i := range []int{0, count / 2, count - 1} {
		name := fmt.Sprintf("c%06d.voice.example.net", i)
		if target, _ := s.chain(name, "SIP+D2U"); target != s.addr(1)+":5060" {
			t.Errorf("%s leads to %q", name, target)
		}
	}
	if reply := s.dig(fmt.Sprintf("c%06d.voice.example.net", count), "NAPTR"); reply.status != "NXDOMAIN" {
		t.Errorf("one past the last: %s, want NXDOMAIN", reply.status)
	}
	// A fault in the last line is found before the first write.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte(strings.ReplaceAll(string(text), `"id":"b`, `"id":"d`)), []byte(`{"kind":"Account","id":"bad","zone":"voice.example.net"}`+"\n")...)
	out, code := s.run(string(text), "apply", "-f", "-")
	if code != 2 || !strings.Contains(out, fmt.Sprintf(":%d", count+1)) {
		t.Errorf("a fault in line %d: exit %d\n%s", count+1, code, out)
	}
	if _, code := s.run("", "get", "Account", "d000000"); code != 3 {
		t.Errorf("an object before the fault was written: exit %d, want 3", code)
	}
}

// The API describes itself, on the socket only the owner may open.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	info, err := os.Stat(s.path("tandem.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket's mode is %o, want 600", mode)
	}
	code, body := s.curl("--unix-socket", s.path("tandem.sock"), "http://tandem/v1/openapi.json")
	var document struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(body), &document); code != "200" || err != nil || !strings.HasPrefix(document.OpenAPI, "3.1") || len(document.Paths) == 0 {
		t.Errorf("openapi.json: %s, %v, version %q, %d paths", code, err, document.OpenAPI, len(document.Paths))
	}
	code, metrics := s.curl("http://" + s.addr(1) + ":9153/metrics")
	if code != "200" || !strings.Contains(metrics, "tandem_dnsd") || !strings.Contains(metrics, "tandem_sipproxy") {
		t.Errorf("metrics: %s\n%s", code, tail(metrics, 20))
	}
}
