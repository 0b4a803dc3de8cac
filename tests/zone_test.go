package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/dnsd/zonefile"
)

// TestEveryType stores a record of every type, once in its own form and once in that of RFC 3597, and asks
// dig for each: the same octets come back.
func TestEveryType(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../dnsd/zonefile/testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	var records []zonefile.Record
	var own, generic strings.Builder
	origin, _ := zonefile.ParseName("types.test.", "")
	for r := zonefile.NewReader(bytes.NewReader(text), zonefile.Options{Origin: origin}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == zonefile.TypeSOA {
			continue // for the apex only
		}
		records = append(records, rec)
		label := rec.Owner[1 : 1+rec.Owner[0]]
		fmt.Fprintf(&own, "%s %s %s\n", label, zonefile.TypeText(rec.Type), zonefile.DataText(rec.Type, rec.Data))
		fmt.Fprintf(&generic, "%s TYPE%d %s\n", label, rec.Type, zonefile.GenericText(rec.Data))
	}
	s := newServer(t)
	s.start()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "own.test.zone"), own.String())
	writeFile(t, filepath.Join(dir, "generic.test.zone"), generic.String())
	if out, code := s.run("", "zone", "import", dir); code != 0 {
		t.Fatalf("zone import: exit %d\n%s", code, out)
	}
	for _, rec := range records {
		label := rec.Owner[1 : 1+rec.Owner[0]]
		section := "+answer"
		if rec.Type == zonefile.TypeNS {
			section = "+authority" // a delegation
		}
		for _, zone := range []string{"own.test", "generic.test"} {
			out, err := exec.Command("dig", "@"+s.addr(1), "-p", "5300", "+tcp", "+norec", "+noall", section, "+nocomments", "+nosplit", label+"."+zone, fmt.Sprintf("TYPE%d", rec.Type)).CombinedOutput()
			if err != nil {
				t.Fatalf("dig: %v\n%s", err, out)
			}
			got, err := zonefile.NewReader(bytes.NewReader(out), zonefile.Options{}).Next()
			if err != nil || got.Type != rec.Type || !bytes.Equal(got.Data, rec.Data) {
				t.Errorf("%s.%s %s is answered\n%swhich is %x, %v; want %x", label, zone, zonefile.TypeText(rec.Type), out, got.Data, err, rec.Data)
			}
		}
	}
	if len(records) < 90 {
		t.Errorf("%d records were asked for, want one or more of every type", len(records))
	}
}

// TestShrinkingZone: an apply that takes over half of a zone away changes nothing unless it is said to be
// meant; less, and a small zone, pass.
func TestShrinkingZone(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	document := func(id string, records int) string {
		var text strings.Builder
		for n := range records {
			fmt.Fprintf(&text, `h%d A 192.0.2.%d\n`, n, n)
		}
		return fmt.Sprintf(`{"kind":"Zone","id":"%s","role":"plain","records":"%s"}`, id, text.String())
	}
	steps := []struct {
		name, id string
		records  int
		args     []string
		code     int
	}{
		{"made", "big.test", 100, nil, 0},
		{"half is left", "big.test", 50, nil, 0},
		{"less", "big.test", 24, nil, 2},
		{"meant", "big.test", 24, []string{"--allow-shrink"}, 0},
		{"emptied", "big.test", 0, nil, 2},
		{"grown", "big.test", 200, nil, 0},
		{"a small one made", "small.test", 19, nil, 0},
		{"a small one emptied", "small.test", 0, nil, 0},
	}
	for _, step := range steps {
		out, code := s.run(document(step.id, step.records), append([]string{"apply", "-f", "-"}, step.args...)...)
		if code != step.code {
			t.Errorf("%s: exit %d, want %d\n%s", step.name, code, step.code, out)
		}
		if step.code != 0 && !strings.Contains(out, "--allow-shrink") {
			t.Errorf("%s: %q does not say what to do", step.name, out)
		}
	}
}

// TestImportMany imports 12,000 zone files; the goal is 20 s on two idle cores.
func TestImportMany(t *testing.T) {
	if os.Getenv("TANDEM_LONG") == "" {
		t.Skip("part of the long tests")
	}
	s, dir := newServer(t), t.TempDir()
	s.start()
	const count = 12000
	for n := range count {
		var text strings.Builder
		fmt.Fprintf(&text, "$TTL 3600\n@ SOA ns1 hostmaster %d 7200 900 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n@ MX 10 mail\nmail A 192.0.2.3\n", n)
		for h := range 20 {
			fmt.Fprintf(&text, "host%d A 192.0.2.%d\n", h, h)
		}
		writeFile(t, filepath.Join(dir, fmt.Sprintf("zone%d.test.zone", n)), text.String())
	}
	began := time.Now()
	out, code := s.run("", "zone", "import", dir)
	took := time.Since(began)
	t.Logf("%s in %s", strings.TrimSpace(out), took)
	if code != 0 || !strings.Contains(out, "12,000 created") || took > time.Minute {
		t.Errorf("zone import: exit %d in %s\n%s", code, took, out)
	}
}
