package control_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

var update = flag.Bool("update", false, "rewrite testdata and docs/openapi.json")

// TestBadDocuments applies each file of testdata/faults.txt to a store that holds the small telco:
// after "== name" the file's text, after "->" what is said about it.
func TestBadDocuments(t *testing.T) {
	const golden = "testdata/faults.txt"
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	commits := m.commits
	var out strings.Builder
	for _, section := range strings.Split(string(text), "== ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		documents, want, _ := strings.Cut(rest, "->\n")
		_, err := c.Apply(t.Context(), name, strings.NewReader(documents), nil)
		got := ""
		var refused *control.Error
		if errors.As(err, &refused) {
			got = fmt.Sprintf("%d %s\n", refused.Status, strings.ReplaceAll(refused.Error(), "\n", "\n    "))
		}
		if strings.Contains(got, "never-to-be-seen") || strings.Contains(got, "12345678") || strings.Contains(got, "forgotten") {
			t.Errorf("%s: a secret is repeated in %s", name, got)
		}
		if got != want && !*update {
			t.Errorf("%s:\n%s", name, cmp.Diff(want, got))
		}
		fmt.Fprintf(&out, "== %s\n%s->\n%s", name, documents, got)
	}
	if m.commits != commits {
		t.Errorf("bad documents were written: %d commits", m.commits-commits)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNumbersAsText(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	apply(t, c, "kind: User\nid: 9\naccount: a1\nextension: 0123\nname: true\nnumbers: [+15550100]\n")
	u := m.objects[tandem.KindUser]["9"].(*tandem.User)
	if u.Extension != "0123" || u.Name != "true" || u.Numbers[0] != "+15550100" {
		t.Errorf("plain YAML scalars became %+v, want them as written", u)
	}
}

// TestLimits: a limit may be absent, and what is written is kept; twin: applied again, nothing changes.
func TestLimits(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	limits := "kind: Group\nid: g9\nexpected: 40\npermitted: 50\nminQuality: 80\n---\nkind: Group\nid: g8\npermitted: null\n"
	apply(t, c, limits)
	g9, g8 := m.objects[tandem.KindGroup]["g9"].(*tandem.Group), m.objects[tandem.KindGroup]["g8"].(*tandem.Group)
	if *g9.Expected != 40 || *g9.Permitted != 50 || g9.MinQuality != 80 || g8.Expected != nil || g8.Permitted != nil {
		t.Errorf("groups %+v and %+v, want them as written", g9, g8)
	}
	commits := m.commits
	if apply(t, c, limits); m.commits != commits {
		t.Error("applied again, the same limits were written")
	}
}

func TestReadObjects(t *testing.T) {
	read := func(text string) ([]tandem.Object, error) {
		return control.ReadObjects(t.Context(), "t.yaml", strings.NewReader(text), int64(len(text)))
	}
	objects, err := read("kind: Group\nid: g\ncluster: c\n---\n# nothing\n---\nkind: Cluster\nid: c\ncapacity: 5\n")
	if err != nil || len(objects) != 2 || objects[0].Kind() != tandem.KindCluster || objects[1].Header().ID != "g" {
		t.Errorf("ReadObjects = %v, %v; want the cluster before the group that refers to it", objects, err)
	}
	if objects, err = read("kind: Group\nid: g\npermitted: -2\n"); err == nil || objects != nil || !strings.Contains(err.Error(), "t.yaml:3: permitted: ") {
		t.Errorf("ReadObjects of a bad document = %v, %v; want where the fault is", objects, err)
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	c := start(t, newMemory(), nil)
	_, err := c.Apply(t.Context(), "f.jsonl", strings.NewReader(strings.Repeat("{}\n", 5000)), nil)
	var refused *control.Error
	if !errors.As(err, &refused) || len(refused.Faults) != 20 || refused.More != 4980 {
		t.Fatalf("Apply = %v, want 20 faults and 4980 more", err)
	}
	if !strings.HasSuffix(err.Error(), "\nand 4980 more") || refused.Faults[19].Line != 20 {
		t.Errorf("Apply = %v", err)
	}
}

func TestTooLongDocument(t *testing.T) {
	c := start(t, newMemory(), nil)
	long := strings.Repeat("x", 5<<20)
	for name, documents := range map[string]string{
		"lines": `{"kind":"Cluster","id":"c1"}` + "\n" + `{"kind":"Cluster","id":"` + long + `"}` + "\n" + `{"kind":"Cluster"}` + "\n",
		"yaml":  "kind: Cluster\n---\nname: " + long + "\n---\nkind: Cluster\n",
	} {
		_, err := c.Apply(t.Context(), name, strings.NewReader(documents), nil)
		if err == nil || !strings.Contains(err.Error(), name+":2: is longer than the 4194304 octets") || !strings.Contains(err.Error(), "id: ") {
			t.Errorf("%s: Apply = %.300v, want line 2 refused and the next document read", name, err)
		}
	}
}

// FuzzDocuments holds the decoder to two things: whatever the bytes, it says yes or tells faults;
// and what it takes, encoded and decoded again, is the same.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(telco), 0)
	f.Add([]byte(`{"kind":"Account","id":"a","zone":"z.example","group":"g","routes":{"invite":["x"]},"ttl":{"srv":5}}`), 1)
	f.Add([]byte("{\n\"kind\":\"Device\",\"id\":\"d\",\"account\":\"a\",\"username\":\"\\u00e9\"\n}\n"), 2)
	f.Add([]byte("kind: Zone\nid: 1.2.in-addr.arpa\nrecords: |\n  a A 1.2.3.4\n...\n--- {kind: Cluster, id: yes}\n"), 3)
	faults, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, section := range strings.Split(string(faults), "== ")[1:] {
		_, rest, _ := strings.Cut(section, "\n")
		documents, _, _ := strings.Cut(rest, "->\n")
		f.Add([]byte(documents), 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, format int) {
		objects, encoded, _ := control.Documents(data, format&3)
		for i, o := range objects {
			for form, text := range map[int][]byte{1: encoded[i], 3: yaml(t, encoded[i])} {
				again, second, faults := control.Documents(text, form)
				if len(again) != 1 || len(faults) > 0 {
					t.Fatalf("%s of form %d decodes to %d objects, faults %v", text, form, len(again), faults)
				}
				if string(second[0]) != string(encoded[i]) {
					t.Fatalf("form %d: %s\nbecame\n%s", form, encoded[i], second[0])
				}
				if again[0].Kind() != o.Kind() {
					t.Fatalf("a %s became a %s", o.Kind(), again[0].Kind())
				}
			}
		}
	})
}

func yaml(t *testing.T, data []byte) []byte {
	t.Helper()
	out, err := control.YAML(data)
	if err != nil {
		t.Fatalf("YAML(%s): %v", data, err)
	}
	return out
}

func TestOpenAPI(t *testing.T) {
	golden := filepath.Join("..", "..", "docs", "openapi.json")
	got, err := control.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/openapi.json is not what the types say; go test ./internal/control -update rewrites it:\n%s", diff)
	}
}

func TestExplain(t *testing.T) {
	for _, k := range tandem.Kinds() {
		e, err := control.Explain(string(k))
		if err != nil || e.Explain == "" {
			t.Errorf("Explain(%s) = %+v, %v; want a text", k, e, err)
		}
		for _, p := range control.FieldPaths(k) {
			if e, err := control.Explain(p); err != nil || e.Path != p || e.Explain == "" {
				t.Errorf("Explain(%s) = %+v, %v", p, e, err)
			}
		}
	}
	cases := []struct{ path, want string }{
		{"accounts.LABELS.role", "Account.labels.role (text)"},
		{"node.ports.udp", "Node.ports.udp (number 0 to 65535)"},
		{"peer.networks", "Peer.networks (list of network)"},
		{"account.targets", "Account.targets (mapping of text to TargetSpec)"},
		{"acount", "acount is not a kind; did you mean Account?"},
		{"account.lables", "Account.lables: is not a field of Account; did you mean labels?"},
		{"account.rout", "Account.rout: is not a field of Account; did you mean routes?"},
		{"account.name.x", "Account.name is text: it has no fields"},
	}
	for _, c := range cases {
		e, err := control.Explain(c.path)
		got := fmt.Sprintf("%s (%s)", e.Path, e.Type)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("Explain(%q) = %s, want %s", c.path, got, c.want)
		}
	}
}
