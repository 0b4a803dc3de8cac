package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// room is one folder of the house: what it may import. A folder below it belongs to it.
type room struct {
	ours      string // rooms that it may import; "rooms" stands for every room
	libraries string // outside libraries that live here
}

const vocabulary = "internal/tandem"

// rooms is the table of docs/architecture.md. A new room gets its row in both, in one change.
var rooms = map[string]room{
	vocabulary:           {},
	"dnsd":               {vocabulary, "github.com/miekg/dns github.com/hashicorp/go-immutable-radix/v2 github.com/google/btree github.com/quic-go/quic-go golang.org/x/sys github.com/cilium/ebpf"},
	"sipproxy":           {vocabulary, "github.com/emiago/sipgo golang.org/x/sys"},
	"httpproxy":          {vocabulary, ""},
	"provision":          {vocabulary, ""},
	"store":              {vocabulary, "github.com/cockroachdb/pebble/v2 github.com/fxamacker/cbor/v2 golang.org/x/sys"},
	"lb":                 {vocabulary, ""},
	"fraud":              {vocabulary, ""},
	"intproxy":           {vocabulary, ""},
	"message":            {vocabulary, ""},
	"internal/fleet":     {vocabulary + " store", "github.com/nats-io/nats.go github.com/nats-io/nats-server/v2"},
	"internal/host":      {vocabulary, "github.com/vishvananda/netlink golang.org/x/sys"},
	"internal/resolve":   {vocabulary, "github.com/miekg/dns"},
	"internal/egress":    {"", ""},
	"internal/logship":   {vocabulary, ""},
	"internal/control":   {vocabulary, "go.yaml.in/yaml/v3 golang.org/x/sys"},
	"internal/shell":     {vocabulary + " internal/control", ""},
	"internal/lab":       {vocabulary + " internal/control", "github.com/emiago/sipgo golang.org/x/net"},
	"internal/rehearsal": {vocabulary + " lb", ""},
	"internal/node":      {"rooms", "github.com/prometheus/client_golang go.yaml.in/yaml/v3"},
	"cmd/tandem":         {vocabulary + " internal/control internal/node internal/lab internal/rehearsal", "github.com/spf13/cobra go.yaml.in/yaml/v3 golang.org/x/term"},
	"tests":              {vocabulary + " internal/control internal/node internal/lab", "github.com/miekg/dns github.com/emiago/sipgo github.com/google/go-cmp"},
	"bench":              {vocabulary, "github.com/miekg/dns golang.org/x/sys"},
	"images":             {"", ""},
}

// Libraries of every room: the standard library's neighbour for goroutines that are waited for, and
// in tests the comparison of values.
const (
	everywhere   = "golang.org/x/sync"
	everyTesting = "github.com/google/go-cmp"
)

// TestHouse holds the tree to style.md's rules.
func TestHouse(t *testing.T) {
	sources := readTree(t, "..")
	for _, rule := range houseRules() {
		t.Run(rule.name, func(t *testing.T) {
			for _, fault := range rule.check(sources) {
				t.Error(fault)
			}
		})
	}
}

// readTree parses every Go file of the module, by package folder.
func readTree(t *testing.T, root string) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "out" || name == "run") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		parsed, err := parseSource(filepath.ToSlash(rel), string(text))
		sources = append(sources, parsed)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 5 {
		t.Fatalf("found %d Go files under %s, want the whole tree", len(sources), root)
	}
	return sources
}

// TestHouseRows checks that each room that exists has its row in docs/architecture.md.
func TestHouseRows(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range rooms {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			continue
		}
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("docs/architecture.md has no row for %s", name)
		}
	}
}

// TestHouseTwins feeds each rule a source that breaks it and one that nearly does.
func TestHouseTwins(t *testing.T) {
	long := strings.Repeat("\t_ = 0\n", 99)
	cases := []struct {
		name, rule, path, good, bad string
	}{
		{"room imports room", "imports", "dnsd/a.go",
			`package dnsd; import _ "tandem/internal/tandem"`,
			`package dnsd; import _ "tandem/store"`},
		{"folder below a room", "imports", "dnsd/a.go",
			`package dnsd; import _ "tandem/dnsd/fastpath"`,
			`package dnsd; import _ "tandem/sipproxy/location"`},
		{"the vocabulary is standard library only", "imports", "internal/tandem/a.go",
			`package tandem; import _ "net/netip"`,
			`package tandem; import _ "github.com/miekg/dns"`},
		{"a library outside its room", "imports", "sipproxy/a.go",
			`package sipproxy; import _ "github.com/emiago/sipgo/sip"`,
			`package sipproxy; import _ "github.com/miekg/dns"`},
		{"a library without a room", "imports", "store/a.go",
			`package store; import _ "github.com/cockroachdb/pebble/v2/vfs"`,
			`package store; import _ "github.com/sirupsen/logrus"`},
		{"nearly the library's name", "imports", "dnsd/a.go",
			`package dnsd; import _ "github.com/miekg/dns"`,
			`package dnsd; import _ "github.com/miekg/dnsother"`},
		{"node imports every room", "imports", "internal/node/a.go",
			`package node; import _ "tandem/dnsd"`,
			`package node; import _ "tandem/dnsd/fastpath"`},
		{"a folder without a row", "imports", "dnsd/a.go",
			`package dnsd`,
			`package dnsd; import _ "tandem/cache"`},
		{"folder's name", "names", "dnsd/wire/a.go", "package wire", "package util"},
		{"package comment", "comments", "lb/a.go",
			"// Package lb places calls.\npackage lb", "package lb"},
		{"exported function", "comments", "lb/a.go",
			"// Package lb places calls.\npackage lb\n\n// Place places.\nfunc Place() {}",
			"// Package lb places calls.\npackage lb\n\nfunc Place() {}"},
		{"method of an exported type", "comments", "lb/a.go",
			"// Package lb places calls.\npackage lb\n\ntype t int\n\nfunc (t) Place() {}",
			"// Package lb places calls.\npackage lb\n\n// T is one.\ntype T int\n\nfunc (*T) Place() {}"},
		{"neighbours share a comment", "comments", "lb/a.go",
			"// Package lb places calls.\npackage lb\n\n// A and B are nothing.\nfunc A() {}\nfunc B() {}",
			"// Package lb places calls.\npackage lb\n\n// A and B are nothing.\nfunc A() {}\n\nfunc B() {}"},
		{"exported constant", "comments", "lb/a.go",
			"// Package lb places calls.\npackage lb\n\n// Sizes.\nconst (\n\tA = 1\n)",
			"// Package lb places calls.\npackage lb\n\nconst (\n\tA = 1\n)"},
		{"init", "state", "lb/a.go", "package lb\nfunc begin() {}", "package lb\nfunc init() {}"},
		{"variable that changes", "state", "lb/a.go",
			"package lb\nvar limit = 3\nfunc f() int { return limit }",
			"package lb\nvar limit = 3\nfunc f() { limit = 4 }"},
		{"variable hidden by a local one", "state", "lb/a.go",
			"package lb\nvar limit = 3\nfunc f() { limit := 2; limit = 4; _ = limit }",
			"package lb\nvar limit = 3\nfunc f() { limit++ }"},
		{"map that changes", "state", "lb/a.go",
			"package lb\nvar names = map[string]int{\"a\": 1}\nfunc f() int { return names[\"a\"] }",
			"package lb\nvar names = map[string]int{\"a\": 1}\nfunc f() { names[\"b\"] = 2 }"},
		{"variable made to change", "state", "lb/a.go",
			"package lb\nimport \"errors\"\nvar ErrNone = errors.New(\"none\")",
			"package lb\nimport \"sync\"\nvar mu sync.Mutex"},
		{"pool", "state", "lb/a.go",
			"package lb\nvar table = [...]int{1, 2}",
			"package lb\nimport \"sync\"\nvar pool = sync.Pool{}"},
		{"function length", "size", "lb/a.go",
			"package lb\nfunc f() {\n" + long[7:] + "}\n", "package lb\nfunc f() {\n" + long + "}\n"},
		{"file length", "size", "lb/a.go",
			"package lb\n" + strings.Repeat("\n", 499), "package lb\n" + strings.Repeat("\n", 500)},
	}
	rules := make(map[string]func([]source) []string)
	for _, r := range houseRules() {
		rules[r.name] = r.check
	}
	for _, c := range cases {
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			for i, text := range []string{c.good, c.bad} {
				parsed, err := parseSource(c.path, text)
				if err != nil {
					t.Fatal(err)
				}
				faults := rules[c.rule]([]source{parsed})
				if bad := i == 1; (len(faults) > 0) != bad {
					t.Errorf("%s of\n%s\n= %q, want faults: %v", c.rule, text, faults, bad)
				}
			}
		})
	}
}
