package control_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// door is a server with the small telco inside, asked by a principal without a socket.
type door struct {
	t      *testing.T
	m      *memory
	server *control.Server
}

func newDoor(t *testing.T, change func(*control.Config, *control.Deps)) *door {
	t.Helper()
	m := newMemory()
	cfg, d := control.Config{Socket: "unused"}, deps(m)
	if change != nil {
		change(&cfg, &d)
	}
	s, err := control.New(cfg, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	made := &door{t, m, s}
	if code, body := made.ask(admin, http.MethodPost, "/v1/apply", telco); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, body)
	}
	return made
}

var (
	admin  = tandem.Principal{Name: "uid 0", Admin: true}
	tenant = tandem.Principal{Name: "a1's people", Account: "a1"}
)

func (d *door) ask(by tandem.Principal, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	identify := func(*http.Request) (tandem.Principal, error) { return by, nil }
	control.Handler(d.server, identify).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// foreign holds, for each collection, an id that a1's people may not see.
var foreign = map[string]string{
	"zones": "voice.example.net", "clusters": "c1", "nodes": "n1", "edges": "e1", "groups": "g1",
	"calls": "2", "accounts": "b1", "peers": "p1", "users": "u2", "devices": "d2",
	"tsigkeys": "k1", "views": "v1", "recordsets": "www.bravo.voice.example.net:TXT", "numberranges": "r1",
}

const foreignObjects = `
kind: User
id: u2
account: b1
extension: 200
---
kind: Peer
id: p1
role: core
networks: [127.0.0.8/29]
listener: main
---
kind: TSIGKey
id: k1
account: b1
secret: c2VjcmV0LXNlY3JldA==
---
kind: View
id: v1
networks: [192.0.2.0/24]
---
kind: RecordSet
id: www.bravo.voice.example.net:TXT
zone: voice.example.net
name: www.bravo.voice.example.net
type: TXT
records: ["hello"]
account: b1
---
kind: NumberRange
id: r1
prefix: "+4930"
account: b1
`

// TestTenantWalk takes another tenant's ids, and global ones, along every route: each must look as
// if it did not exist, and be there still afterwards.
func TestTenantWalk(t *testing.T) {
	d := newDoor(t, nil)
	if code, body := d.ask(admin, http.MethodPost, "/v1/apply", foreignObjects); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, body)
	}
	commits := d.m.commits
	walked := 0
	for _, op := range control.Operations() {
		method, path := op[0], op[1]
		if !strings.Contains(path, "{id}") {
			continue
		}
		walked++
		collection := strings.Split(path, "/")[2]
		body := map[string]string{"repoint": `{"key":"invite","cluster":"c1"}`, "move": `{"edges":["e1"]}`, "provisioning-url": `{}`, "hangup": `{}`, "pin": `{"cluster":"c1"}`, "state": `{"state":"out"}`, "load": `{"load":1}`}[path[strings.LastIndex(path, "/")+1:]]
		real, missing := strings.Replace(path, "{id}", foreign[collection], 1), strings.Replace(path, "{id}", "no-such", 1)
		code, text := d.ask(tenant, method, real, body)
		codeMissing, textMissing := d.ask(tenant, method, missing, body)
		if code != http.StatusNotFound || codeMissing != code {
			t.Errorf("%s %s = %d %s, and %d for one that does not exist; want 404 for both", method, real, code, text, codeMissing)
		}
		if strings.ReplaceAll(text, foreign[collection], "X") != strings.ReplaceAll(textMissing, "no-such", "X") {
			t.Errorf("%s %s = %s\nunlike %s", method, real, text, textMissing)
		}
		if method == http.MethodGet {
			if code, text := d.ask(admin, method, real, body); code != http.StatusOK {
				t.Errorf("%s %s by an administrator = %d %s", method, real, code, text)
			}
		}
	}
	if walked != 13*2+12 {
		t.Errorf("walked %d routes with an id, want %d", walked, 13*2+12)
	}
	if d.m.commits != commits {
		t.Errorf("something was written: %d commits", d.m.commits-commits)
	}
}

// TestTenantElsewhere asks the routes without an id.
func TestTenantElsewhere(t *testing.T) {
	d := newDoor(t, nil)
	commits := d.m.commits
	cases := []struct {
		method, path, body string
		code               int
		not                string // what must not be in the answer
	}{
		{"GET", "/v1/status", "", 403, "revision"},
		{"GET", "/v1/dns/trace?name=x", "", 403, "voice"},
		{"POST", "/v1/store/verify", "", 403, "values"},
		{"POST", "/v1/store/backup", `{"dir":"/x"}`, 403, "dir\""},
		{"GET", "/v1/lb/status", "", 403, "c1"},
		{"POST", "/v1/lb/plan", `{}`, 403, "moves"},
		{"GET", "/v1/devices", "", 200, "d2"},
		{"GET", "/v1/devices?account=b1", "", 404, "d2"},
		{"GET", "/v1/accounts", "", 200, "b1"},
		{"GET", "/v1/registrations", "", 200, "b1"},
		{"GET", "/v1/registrations?account=b1", "", 404, "d2"},
		{"GET", "/v1/calls", "", 200, `"account":"b1"`},
		{"GET", "/v1/calls?account=b1", "", 404, `"account":"b1"`},
		{"POST", "/v1/apply", "kind: User\nid: u9\naccount: b1", 404, "revision"},
		{"POST", "/v1/apply", "kind: Cluster\nid: c1", 404, "revision"},
		{"POST", "/v1/diff", "kind: Account\nid: b1\nzone: voice.example.net\ngroup: g1", 200, "difference"},
	}
	for _, c := range cases {
		code, body := d.ask(tenant, c.method, c.path, c.body)
		if code != c.code || strings.Contains(body, c.not) {
			t.Errorf("%s %s = %d %s, want %d without %s", c.method, c.path, code, body, c.code, c.not)
		}
	}
	if code, body := d.ask(tenant, "POST", "/v1/delete", "kind: Device\nid: d2"); code != 200 || !strings.Contains(body, `"absent":1`) {
		t.Errorf("delete of another's device = %d %s, want absent", code, body)
	}
	if d.m.commits != commits || d.m.objects[tandem.KindDevice]["d2"] == nil {
		t.Error("something was written")
	}
	if code, _ := d.ask(tenant, "POST", "/v1/apply", "kind: User\nid: u9\naccount: a1"); code != 200 {
		t.Errorf("apply of a user of one's own = %d", code)
	}
}

func TestStatusCodes(t *testing.T) {
	d := newDoor(t, func(c *control.Config, d *control.Deps) {
		d.Trace = nil
		d.Calls = func(tandem.Principal) []tandem.Call { panic("on purpose") }
	})
	cases := []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/", "", 404, "not found; /v1/openapi.json lists what there is"},
		{"GET", "/v1/zebras", "", 404, "not found"},
		{"PUT", "/v1/zones", "", 405, "PUT is not a method of /v1/zones"},
		{"GET", "/v1/apply", "", 405, "GET is not a method of /v1/apply"},
		{"GET", "/v1/zones?limit=x", "", 400, "limit:"},
		{"GET", "/v1/zones?limit=0", "", 400, "limit:"},
		{"GET", "/v1/zones?limit=1001", "", 400, "limit:"},
		{"GET", "/v1/clusters/c1", "", 200, `"id":"c1"`},
		{"DELETE", "/v1/clusters/c1?revision=99", "", 412, "changed meanwhile"},
		{"DELETE", "/v1/clusters/c1", "", 409, "refers to it"},
		{"GET", "/v1/dns/trace?name=x", "", 501, "runs without dns"},
		{"GET", "/v1/calls", "", 500, "an error of the program's own"},
		{"GET", "/v1/explain/account.zone", "", 200, "Account.zone"},
		{"GET", "/v1/explain/acount", "", 404, "did you mean Account?"},
		{"GET", "/v1/served?revision=1", "", 200, `"revision":1`},
		{"GET", "/v1/openapi.json", "", 200, `"3.1.0"`},
		{"POST", "/v1/accounts/a1/repoint", `{"key":"invite","cluster":"c1"}`, 200, `"changed":1`},
		{"POST", "/v1/accounts/a1/repoint", `{"key":"invite","cluster":"c1","group":true}`, 422, "group: goes without"},
		{"POST", "/v1/accounts/a1/repoint", `{"key":"invite","group":true}`, 200, `"changed":1`},
		{"GET", "/v1/accounts/a1", "", 200, `"labels"`},
		{"POST", "/v1/accounts/a1/repoint", `{"key":"invite","cluster":"c9"}`, 422, `there is no Cluster \"c9\"`},
		{"POST", "/v1/accounts/a1/repoint", `{"key":"invite"}`, 422, "needs either a cluster or nodes"},
		{"POST", "/v1/accounts/a1/repoint", `{"kye":"invite"}`, 400, "repointAccount"},
		{"POST", "/v1/accounts/a1/repoint", `{} {}`, 400, "more than one value"},
		{"POST", "/v1/accounts/a1/move", `{"edges":["e9"]}`, 422, "there is no Edge"},
		{"POST", "/v1/accounts/a1/move", `{"edges":["e1"]}`, 200, `"behind":0,"devices":1`},
		{"POST", "/v1/devices/d1/provisioning-url", `{"seconds":60}`, 200, "https://example.net/p/d1/1m0s"},
		{"POST", "/v1/devices/d1/provisioning-url", `{"seconds":99999999}`, 422, "seconds:"},
		{"POST", "/v1/store/verify", ``, 200, `"values":3`},
		{"POST", "/v1/store/backup", `{"dir":"relative"}`, 422, "not an absolute path"},
		{"POST", "/v1/store/backup", `{"dir":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "over the limit of 1048576 octets"},
	}
	for _, c := range cases {
		code, body := d.ask(admin, c.method, c.path, c.body)
		if code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s %s = %d %.300s, want %d %s", c.method, c.path, code, body, c.code, c.says)
		}
		var answered map[string]any
		if code >= 400 && (json.Unmarshal([]byte(body), &answered) != nil || answered["error"] == "" || answered["status"] != float64(code)) {
			t.Errorf("%s %s = %s, want an Error", c.method, c.path, body)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	d := newDoor(t, func(c *control.Config, d *control.Deps) {
		c.MaxRequests = 1
		d.Status = func() control.Status {
			close(inside)
			<-leave
			return control.Status{}
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ask(admin, "GET", "/v1/status", "")
	}()
	<-inside
	if code, body := d.ask(admin, "GET", "/v1/zones", ""); code != http.StatusServiceUnavailable {
		t.Errorf("a second request = %d %s, want 503", code, body)
	}
	close(leave)
	<-done
	if code, _ := d.ask(admin, "GET", "/v1/zones", ""); code != http.StatusOK {
		t.Errorf("a request afterwards = %d", code)
	}
}

// TestSecretsStayInside looks for a secret in everything that the API says about its device.
func TestSecretsStayInside(t *testing.T) {
	var log bytes.Buffer
	m := newMemory()
	s, err := control.New(control.Config{Socket: "unused"}, deps(m), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t, m, s}
	said := ""
	ask := func(method, path, body string) {
		_, answer := d.ask(admin, method, path, body)
		said += fmt.Sprintf("%s %s: %s\n", method, path, answer)
	}
	ask("POST", "/v1/apply?stream=1", telco)
	ask("GET", "/v1/devices", "")
	ask("GET", "/v1/devices/d1", "")
	ask("POST", "/v1/diff", strings.Replace(telco, "hunter2-hunter2", "hunter3", 1))
	ask("POST", "/v1/apply", strings.Replace(telco, "username: phone-1", "username: bad name", 1))
	ask("POST", "/v1/apply", strings.Replace(telco, "secret: hunter2", "secret: *hunter2", 1))
	ask("POST", "/v1/apply", strings.Replace(telco, "secret: hunter2-", `secret: "hunter2`, 1))
	device := m.objects[tandem.KindDevice]["d1"].(*tandem.Device)
	if len(device.Sealed) == 0 || device.HA1.SHA256 == "" || device.HA1.MD5 == "" || device.Secret != "" {
		t.Fatalf("stored device %+v, want hashes, a sealed secret and no plain one", device)
	}
	said += log.String()
	for _, secret := range []string{"hunter", device.HA1.SHA256, device.HA1.MD5, device.HA1.SHA512_256, "sealed"} {
		if strings.Contains(said, secret) {
			t.Errorf("%s is told in\n%s", secret, said)
		}
	}
}
