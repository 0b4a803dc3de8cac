package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestZoneRoundTrip imports a folder with a bad file among good ones, exports what came of it, and
// imports that again: nothing changes.
func TestZoneRoundTrip(t *testing.T) {
	socket, dir := serve(t), t.TempDir()
	do := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &out)
		return strings.ReplaceAll(out.String(), dir, "DIR"), code
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one.test.zone", "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1 ; kept\n")
	write("db.two", "$ORIGIN two.test.\n$TTL 60\n$INCLUDE part.inc sub\nwww A 192.0.2.2\n")
	write("part.inc", "x TXT y\n")
	write("three.test.zone", "a A 192.0.2.1\n\nb A 192.0.2.256\n")
	write("four.zone", "one.test. 60 SOA ns h 1 2 3 4 5\n")

	want := "DIR/one.test.zone:1: zone one.test stands in DIR/four.zone too\n"
	bad := "DIR/three.test.zone:3: bad A: \"192.0.2.256\" is no address of 4 octets\n"
	out, code := do("zone", "import", dir, "--dry-run")
	if code != 1 || !strings.Contains(out, bad) || !strings.Contains(out, "zones would be created") && !strings.Contains(out, "would be 2 created") {
		t.Errorf("a dry run = %d, %s", code, out)
	}
	if err := os.Remove(filepath.Join(dir, "four.zone")); err != nil {
		t.Fatal(err)
	}
	out, code = do("zone", "import", dir)
	if code != 1 || strings.Contains(out, want) || !strings.HasPrefix(out, bad+"3 files: zones 2 created, 0 changed, 0 unchanged; 1 fault\n") {
		t.Errorf("import = %d, %s", code, out)
	}
	if out, code = do("zone", "export", "--all", filepath.Join(dir, "out")); code != 0 || out != "2 zones written to DIR/out\n" {
		t.Errorf("export = %d, %s", code, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out", "two.test.zone"))
	if err != nil || string(got) != "$ORIGIN two.test.\nx.sub.two.test.\t60\tIN\tTXT\t\"y\"\nwww.two.test.\t60\tIN\tA\t192.0.2.2\n" {
		t.Errorf("exported %q, %v", got, err)
	}
	if out, code = do("zone", "import", filepath.Join(dir, "out", "two.test.zone")); code != 0 {
		t.Errorf("import of what was exported = %d, %s", code, out)
	}
	if out, code = do("zone", "import", filepath.Join(dir, "out", "two.test.zone")); code != 0 || !strings.Contains(out, "0 created, 0 changed, 1 unchanged") {
		t.Errorf("the same again = %d, %s", code, out)
	}
	if out, code = do("zone", "list"); code != 0 || strings.Count(out, "\n") < 3 {
		t.Errorf("list = %d, %s", code, out)
	}
}

// TestZoneCheck gives the exit code and lines that editors understand.
func TestZoneCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.zone")
	tests := []struct {
		name, text, want string
		code             int
	}{
		{"good", "$TTL 60\nx.test. SOA ns.y. h.y. 1 7200 900 1209600 300\nx.test. NS ns.y.\nx.test. NS ns.z.\n", "x.test: 3 records, not signed; 0 errors, 0 warnings\n", 0},
		{"bad", "$TTL 60\nx.test. SOA ns.y. h.y. 1 7200 900 1209600 300\nx.test. NS ns.y.\nx.test. NS ns.z.\nw.x.test. A 1\n",
			"FILE:5: error: bad A: \"1\" is no address of 4 octets\nx.test: 3 records, not signed; 1 error, 0 warnings\ntandem: 1 error\n", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code := run(t.Context(), []string{"zone", "check", file}, nil, &out, &out)
			if got := strings.ReplaceAll(out.String(), file, "FILE"); got != test.want || code != test.code {
				t.Errorf("zone check = %d\n%s\nwant %d\n%s", code, got, test.code, test.want)
			}
		})
	}
}
