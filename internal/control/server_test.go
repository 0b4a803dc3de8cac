package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// telco is a small but whole set of documents.
const telco = `# a small telco
kind: Cluster
id: c1
---
kind: Node
id: n1
cluster: c1
addresses: [127.0.0.11]
ports: {udp: 5060}
---
kind: Edge
id: e1
addresses: [127.0.0.1]
ports:
  udp: 5060
---
kind: Zone
id: voice.example.net
role: accounts
serviceZone: svc.voice.example.net
edges: [e1]
---
kind: Zone
id: svc.voice.example.net
role: service
---
kind: Group
id: g1
cluster: c1
---
kind: Account
id: a1
zone: voice.example.net
group: g1
labels: [{label: alpha}]
numbers: [+15550100]
---
kind: Account
id: b1
zone: voice.example.net
labels: [{label: bravo}]
group: g1
---
kind: User
id: u1
account: a1
extension: 100
---
kind: Device
id: d1
account: a1
user: u1
username: phone-1
secret: hunter2-hunter2
---
kind: Device
id: d2
account: b1
username: phone-2
`

// start runs a server on m until the test ends.
func start(t *testing.T, m *memory, change func(*control.Config, *control.Deps)) *control.Client {
	t.Helper()
	cfg := control.Config{Socket: filepath.Join(t.TempDir(), "run", "tandem.sock")}
	d := deps(m)
	if change != nil {
		change(&cfg, &d)
	}
	s, err := control.New(cfg, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c := control.NewClient(cfg.Socket)
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return c
}

// apply applies documents that must be fine.
func apply(t *testing.T, c *control.Client, documents string) control.Result {
	t.Helper()
	result, err := c.Apply(t.Context(), "documents", strings.NewReader(documents), nil)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return result
}

func TestApply(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	first := apply(t, c, telco)
	if first.Total != 11 || first.Created != 11 || first.Revision == 0 {
		t.Errorf("Apply = %+v, want 11 created", first)
	}
	if m.commits != 1 {
		t.Errorf("a short file took %d commits, want 1", m.commits)
	}
	again := apply(t, c, telco)
	if again.Unchanged != 11 || again.Created+again.Changed != 0 || again.Revision != 0 || m.commits != 1 {
		t.Errorf("Apply again = %+v after %d commits, want 11 unchanged and no commit", again, m.commits)
	}
	changed := apply(t, c, strings.Replace(telco, "cluster: c1\naddresses", "cluster: c1\nweight: 7\naddresses", 1))
	if changed.Changed != 1 || changed.Unchanged != 10 {
		t.Errorf("Apply of one change = %+v, want 1 changed", changed)
	}
}

func TestApplyReportsProgress(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"kind":"Cluster","id":"c0"}` + "\n")
	for i := range 2500 {
		fmt.Fprintf(&b, `{"kind":"Group","id":"g%d","cluster":"c0"}%600s`+"\n", i, "") // long enough to be spooled
	}
	m := newMemory()
	spool := t.TempDir()
	c := start(t, m, func(c *control.Config, _ *control.Deps) { c.Spool = spool })
	var written []control.Progress
	result, err := c.Apply(t.Context(), "groups.jsonl", strings.NewReader(b.String()), func(e control.Event) {
		if e.Progress.Phase == "write" {
			written = append(written, *e.Progress)
		}
		if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
			t.Errorf("the spooled body has a name: %v, %v", left, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Created != 2501 || result.Line != 2501 || m.commits != 3 {
		t.Errorf("Apply = %+v in %d commits, want 2501 created in 3", result, m.commits)
	}
	if len(written) != 3 || written[1].Done != 2000 || written[1].Line != 2000 || written[2].Total != 2501 {
		t.Errorf("progress of writing = %+v", written)
	}
}

func TestReferencesAcrossBatches(t *testing.T) {
	var b strings.Builder
	for i := range 1500 { // devices first: the file need not be in order
		fmt.Fprintf(&b, `{"kind":"Device","id":"d%d","account":"a%d","username":"u"}`+"\n", i, i)
	}
	for i := range 1500 {
		fmt.Fprintf(&b, `{"kind":"Account","id":"a%d","zone":"z.example","group":"g"}`+"\n", i)
	}
	b.WriteString(`{"kind":"Zone","id":"z.example","role":"accounts","serviceZone":"s.example"}
{"kind":"Zone","id":"s.example","role":"service"}
{"kind":"Group","id":"g","cluster":"c"}
{"kind":"Cluster","id":"c"}
`)
	m := newMemory()
	c := start(t, m, nil)
	if r := apply(t, c, b.String()); r.Created != 3004 {
		t.Errorf("Apply = %+v, want 3004 created", r)
	}
	for _, o := range m.list(tandem.KindDevice) {
		if d := o.(*tandem.Device); d.HA1.SHA256 == "" || len(d.Sealed) == 0 || d.SecretVersion != 1 {
			t.Fatalf("device %s has no secret: %+v", d.ID, d)
		}
	}
}

func TestStatedRevision(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	rev := m.objects[tandem.KindCluster]["c1"].Header().Revision
	apply(t, c, fmt.Sprintf("kind: Cluster\nid: c1\nname: new\nrevision: %d", rev))
	_, err := c.Apply(t.Context(), "f", strings.NewReader(fmt.Sprintf("kind: Cluster\nid: c1\nname: newer\nrevision: %d", rev)), nil)
	if !errors.Is(err, tandem.ErrConflict) {
		t.Errorf("Apply with an old revision = %v, want a conflict", err)
	}
	want := "f:4: revision: is not the current one: Cluster c1 was changed meanwhile"
	if err == nil || err.Error() != want {
		t.Errorf("Apply with an old revision = %v, want %s", err, want)
	}
}

// TestConcurrentChange has someone else add a label while a document about the account is checked,
// and while it is written: the document did not see that label, so it is retired, not lost.
func TestConcurrentChange(t *testing.T) {
	for _, when := range []string{"check", "append"} {
		m := newMemory()
		c := start(t, m, nil)
		apply(t, c, telco)
		meddled := false
		m.before = func(what string) {
			if meddled || what != when {
				return
			}
			meddled = true
			m.mu.Lock()
			defer m.mu.Unlock()
			old := *m.objects[tandem.KindAccount]["a1"].(*tandem.Account)
			old.Labels = append(old.Labels, tandem.Label{Label: "beta", Role: tandem.LabelVanity})
			m.rev++
			old.Revision = m.rev
			m.objects[tandem.KindAccount]["a1"] = &old
		}
		r := apply(t, c, "kind: Account\nid: a1\nzone: voice.example.net\ngroup: g1\nname: Alpha\nlabels: [{label: alpha}]")
		got := m.objects[tandem.KindAccount]["a1"].(*tandem.Account)
		if r.Changed != 1 || !meddled || len(got.Labels) != 2 || got.Labels[1].Role != tandem.LabelRetired {
			t.Errorf("after a change during %s: %+v, %+v; want beta retired", when, r, got.Labels)
		}
	}
}

func TestGetListDelete(t *testing.T) {
	c := start(t, newMemory(), nil)
	apply(t, c, telco)
	ctx := t.Context()
	got, err := c.Get(ctx, tandem.KindCluster, "c1")
	if err != nil || string(got) != `{"kind":"Cluster","id":"c1","revision":1}` {
		t.Errorf("Get = %s, %v", got, err)
	}
	page, err := c.List(ctx, tandem.KindAccount, "", "", 1)
	if err != nil || len(page.Items) != 1 || page.Next != "a1" {
		t.Errorf("List = %+v, %v; want one item and a1 next", page, err)
	}
	page, err = c.List(ctx, tandem.KindDevice, "b1", "", 10)
	if err != nil || len(page.Items) != 1 || page.Next != "" {
		t.Errorf("List of b1's devices = %+v, %v; want one", page, err)
	}
	if _, err := c.Delete(ctx, tandem.KindCluster, "c1", 0); err == nil || err.(*control.Error).Status != http.StatusConflict {
		t.Errorf("Delete of a cluster in use = %v, want 409", err)
	}
	if r, err := c.Delete(ctx, tandem.KindDevice, "d2", 0); err != nil || r.Deleted != 1 {
		t.Errorf("Delete = %+v, %v", r, err)
	}
	if _, err := c.Delete(ctx, tandem.KindDevice, "d2", 0); !errors.Is(err, tandem.ErrNotFound) {
		t.Errorf("Delete again = %v, want not found", err)
	}
	r, err := c.DeleteAll(ctx, "telco.yaml", strings.NewReader(telco), nil)
	if err != nil || r.Deleted != 10 || r.Absent != 1 {
		t.Errorf("DeleteAll = %+v, %v; want 10 deleted and 1 absent", r, err)
	}
}

func TestDiff(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	commits := m.commits
	documents := strings.NewReplacer("weight", "", "hunter2-hunter2", "another-secret", "id: u1\n", "id: u1\nname: Ada\n").Replace(telco) +
		"---\nkind: Cluster\nid: c2\n"
	var got []string
	r, err := c.Diff(t.Context(), "f", strings.NewReader(documents), func(e control.Event) {
		if e.Difference != nil {
			got = append(got, fmt.Sprintf("%s %s %s %v", e.Difference.Action, e.Difference.Kind, e.Difference.ID, e.Difference.Fields))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"created Cluster c2 []",
		`changed User u1 [{name  "Ada"}]`,
		"changed Device d1 [{secretVersion 1 2} {secret (hidden) (hidden)}]",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Diff =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Created != 1 || r.Changed != 2 || r.Unchanged != 9 || m.commits != commits {
		t.Errorf("Diff = %+v after %d commits, want none", r, m.commits-commits)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	start(t, newMemory(), func(c *control.Config, _ *control.Deps) { c.Socket = path })
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, %v; want 0600", info.Mode(), err)
	}
	second, err := control.New(control.Config{Socket: path}, deps(newMemory()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "another tandem answers at "+path) {
		t.Errorf("Listen at a socket in use = %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, _ = control.New(control.Config{Socket: file}, deps(newMemory()), slog.New(slog.DiscardHandler))
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("Listen at a file = %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := control.New(control.Config{Socket: path}, deps(newMemory()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(); err != nil {
		t.Fatal(err)
	}
	control.Abandon(first)
	c := start(t, newMemory(), func(c *control.Config, _ *control.Deps) { c.Socket = path })
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status = %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := control.NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("Status = %v, want ErrUnreachable", err)
	}
}

func TestTooLong(t *testing.T) {
	c := start(t, newMemory(), func(c *control.Config, _ *control.Deps) { c.MaxDocuments = 3 << 20 })
	line := `{"kind":"Cluster","id":"c1"}` + strings.Repeat(" ", 1000) + "\n"
	_, err := c.Apply(t.Context(), "f", strings.NewReader(strings.Repeat(line, 5000)), nil)
	var e *control.Error
	if !errors.As(err, &e) || e.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("Apply of 5 MB = %v, want 413", err)
	}
	err = c.Backup(t.Context(), strings.Repeat("x", 2<<20))
	if !errors.As(err, &e) || e.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("Backup with 2 MiB = %v, want 413", err)
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("used", func(t *testing.T) {
		c := start(t, newMemory(), nil)
		apply(t, c, telco)
		_, _ = c.Apply(t.Context(), "f", strings.NewReader("kind: Nonsense"), nil)
	})
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

func TestWhoMayManage(t *testing.T) {
	for _, uid := range []uint32{0, uint32(os.Geteuid())} {
		if p, err := control.Identify(uid); err != nil || !p.Admin || p.Name != fmt.Sprintf("uid %d", uid) {
			t.Errorf("uid %d is %+v, %v; want an administrator", uid, p, err)
		}
	}
	var refused *control.Error
	if p, err := control.Identify(uint32(os.Geteuid()) + 12345); !errors.As(err, &refused) || refused.Status != http.StatusForbidden || p.Admin {
		t.Errorf("another uid is %+v, %v; want 403", p, err)
	}
}

// TestForms applies one object in each form that a file can have.
func TestForms(t *testing.T) {
	forms := map[string]string{
		"a.yaml":        "\ufeffkind: Cluster\r\nid: c1\r\nname: \"1\"\r\n---\r\nkind: Group\r\nid: g1\r\ncluster: c1\r\n",
		"flow.yaml":     "{kind: Cluster, id: c1, name: '1'}\n--- {kind: Group, id: g1, cluster: c1}\n...\n",
		"marks":         "%YAML 1.1\n---\nkind: Cluster\nid: c1\nname: '1'\n...\n# between\n--- # comment\nkind: Group\nid: g1\ncluster: c1",
		"a.jsonl":       "\ufeff\n" + `{"kind":"Group","id":"g1","cluster":"c1"}` + "\r\n\r\n" + `{"kind":"Cluster","id":"c1","name":"\u0031"}`,
		"no-name":       `{"kind":"Group","id":"g1","cluster":"c1"}` + "\n" + `{"kind":"Cluster","id":"c1","name":"1"}` + "\n",
		"a.json":        "{\n \"kind\": \"Group\", \"id\": \"g1\",\n \"cluster\": \"c1\"\n}\n\n{\"kind\":\"Cluster\",\n\"id\":\"c1\",\"name\":\"1\"}",
		"-":             `{kind: Cluster, id: c1, name: "1"}` + "\n---\n" + `{kind: Group, id: g1, cluster: c1}` + "\n",
		"quoted-key":    `{"kind": Cluster, "id": c1, name: '1'}` + "\n---\n" + `{"kind": Group, id: g1, cluster: c1}` + "\n",
		"quoted-lines":  "{\n  \"kind\": Cluster,\n  \"id\": c1, 'name': \"1\", # first\n}\n--- {\"kind\": Group, id: g1, cluster: c1}\n",
		"no-quotes-yet": "{\n  kind: Cluster,\n  id: c1, name: '1'\n}\n---\nkind: Group\nid: g1\ncluster: c1\n",
	}
	for name, documents := range forms {
		m := newMemory()
		c := start(t, m, nil)
		result, err := c.Apply(t.Context(), name, strings.NewReader(documents), nil)
		if err != nil || result.Created != 2 {
			t.Errorf("%s: Apply = %+v, %v; want 2 created", name, result, err)
			continue
		}
		if got := m.objects[tandem.KindCluster]["c1"].(*tandem.Cluster); got.Name != "1" {
			t.Errorf("%s: name is %q, want 1", name, got.Name)
		}
	}
}

// TestInterrupted lets the store fail after the first batch.
func TestInterrupted(t *testing.T) {
	var b strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&b, `{"kind":"Cluster","id":"c%d"}`+"\n", i)
	}
	m := newMemory()
	c := start(t, m, nil)
	m.before = func(string) {
		if m.commits == 1 {
			m.refuse = errors.New("disk is full")
		}
	}
	_, err := c.Apply(t.Context(), "f.jsonl", strings.NewReader(b.String()), nil)
	want := "f.jsonl: disk is full; 1000 objects are written, the last one from line 1000; apply the file again to do the rest"
	if err == nil || err.Error() != want {
		t.Errorf("Apply = %v, want %s", err, want)
	}
	m.before, m.refuse = nil, nil
	if r := apply(t, c, b.String()); r.Created != 1500 || r.Unchanged != 1000 {
		t.Errorf("Apply again = %+v, want 1500 created and 1000 unchanged", r)
	}
}
