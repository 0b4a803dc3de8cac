package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/dnsd/zonecheck"
	"tandem/internal/node"
	"tandem/internal/tandem"
)

// goodZone is what the zones of the corpus begin with; a bad one may leave out its apex records.
const goodZone = `$TTL 3600
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
@ NS ns2
ns1 A 192.0.2.1
ns2 A 192.0.2.2
`

// badZone is a zone of the corpus, below bad.test: whole, or what goodZone is followed by.
type badZone struct {
	name, text string
	want       string // part of our finding, with its severity in front; "" for none
	whole      bool
}

// TestZoneCheckFindsWhatPeersFind checks each bad zone with kzonecheck, nsd-checkzone and
// named-checkzone: what one of them calls an error, we call one.
func TestZoneCheckFindsWhatPeersFind(t *testing.T) {
	t.Parallel()
	checkers := zoneCheckers(t)
	refused := map[string]int{}
	for _, z := range badZones() {
		text := z.text + "\n"
		if !z.whole {
			text = goodZone + text
		}
		t.Run(z.name, func(t *testing.T) {
			report, err := zonecheck.Check(strings.NewReader(text), zonecheck.Options{Origin: "bad.test", File: "bad"})
			if err != nil {
				t.Fatal(err)
			}
			var ours []string
			for _, f := range report.Findings {
				ours = append(ours, f.String())
			}
			got := strings.Join(ours, "\n")
			severity, part, _ := strings.Cut(z.want, ": ")
			switch {
			case z.want == "" && len(ours) > 0:
				t.Errorf("we find\n%s\nwant nothing", got)
			case z.want != "" && !hasFinding(report, severity, part):
				t.Errorf("we find\n%s\nwant %s", got, z.want)
			}
			against := 0
			defer func() { checkDoor(t, z, text, against) }()
			for _, c := range checkers {
				if out, bad := c.refuses(t, "bad.test", text); bad {
					refused[c.name]++
					against++
					if report.Errors() == 0 {
						t.Errorf("%s refuses it and we do not:\n%s\nours:\n%s", c.name, out, got)
					}
				}
			}
		})
	}
	t.Logf("of %d zones refused: %v", len(badZones()), refused)
	for _, c := range checkers {
		if refused[c.name] < 10 {
			t.Errorf("%s refuses %d zones, want more of the corpus", c.name, refused[c.name])
		}
	}
}

// checkDoor asks whether the text may be stored: not when all three refuse it, but when none does. SOA, NS
// and addresses of name servers are made where a text has none, so that it need not have them.
func checkDoor(t *testing.T, z badZone, text string, against int) {
	t.Helper()
	err := node.CheckZone(&tandem.Zone{Head: tandem.Head{ID: "bad.test"}, Role: tandem.RolePlain, Records: text})
	switch {
	case err == nil && against == 3 && !strings.HasPrefix(z.name, "no "):
		t.Errorf("all three refuse it, and it may be stored")
	case err != nil && against == 0:
		t.Errorf("none refuses it, and it may not be stored: %v", err)
	}
}

func hasFinding(report *zonecheck.Report, severity, part string) bool {
	for _, f := range report.Findings {
		if string(f.Severity) == severity && strings.Contains(f.Text, part) {
			return true
		}
	}
	return false
}

// TestZoneCheckPassesGoodZones is the twin: zones that the three take give no finding.
func TestZoneCheckPassesGoodZones(t *testing.T) {
	t.Parallel()
	checkers := zoneCheckers(t)
	for _, z := range goodZones(t) {
		t.Run(z.name, func(t *testing.T) {
			report, err := zonecheck.Check(strings.NewReader(z.text), zonecheck.Options{Origin: "bad.test", File: "good"})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				t.Errorf("we find %s", f)
			}
			for _, c := range checkers {
				if out, bad := c.refuses(t, "bad.test", z.text); bad {
					t.Errorf("%s refuses it: the corpus is wrong\n%s", c.name, out)
				}
			}
		})
	}
}

// zoneChecker is a program that checks zone text.
type zoneChecker struct {
	name, program, libraries string
	args                     []string // before origin and file
	origin                   string   // flag before the origin, if any
}

func zoneCheckers(t *testing.T) []zoneChecker {
	root, libraries := debianPeers(t)
	return []zoneChecker{
		{"kzonecheck", filepath.Join(root, "usr/bin/kzonecheck"), libraries, nil, "-o"},
		{"nsd-checkzone", filepath.Join(root, "usr/sbin/nsd-checkzone"), libraries, nil, ""},
		{"named-checkzone", filepath.Join(root, "usr/bin/named-checkzone"), libraries, []string{
			"-i", "local", "-k", "fail", "-m", "fail", "-n", "fail", "-M", "fail", "-S", "fail", "-T", "ignore", "-W", "ignore",
		}, ""},
	}
}

// refuses reports whether c finds an error in text, and what it says.
func (c zoneChecker) refuses(t *testing.T, origin, text string) (string, bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "zone")
	writeFile(t, file, text)
	args := append([]string{}, c.args...)
	if c.origin != "" {
		args = append(args, c.origin)
	}
	cmd := exec.Command(c.program, append(args, origin, file)...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+c.libraries)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return string(out), err != nil
}

// signed returns a zone signed by dnssec-signzone, with the flags given.
func signed(t *testing.T, text string, end time.Time, flags ...string) string {
	t.Helper()
	root, libraries := debianPeers(t)
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		cmd := exec.Command(filepath.Join(root, "usr/bin", program), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("dnssec-keygen", "-a", "ECDSAP256SHA256", "-f", "KSK", "bad.test")
	run("dnssec-keygen", "-a", "ECDSAP256SHA256", "bad.test")
	writeFile(t, filepath.Join(dir, "zone"), text)
	args := append([]string{"-S", "-x", "-o", "bad.test", "-s", "20200101000000", "-e", end.UTC().Format("20060102150405"), "-f", "signed", "-O", "full"}, flags...)
	run("dnssec-signzone", append(args, "zone")...)
	out, err := os.ReadFile(filepath.Join(dir, "signed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestZoneCheckVerifiesSignatures damages signed zones, each in one way.
func TestZoneCheckVerifiesSignatures(t *testing.T) {
	t.Parallel()
	plain := goodZone + "a A 192.0.2.25\nb TXT x\nsub NS ns1\nsub DS 12345 13 2 " + strings.Repeat("ab", 32) + "\n"
	end := time.Now().Add(240 * time.Hour)
	nsec, nsec3 := signed(t, plain, end), signed(t, plain, end, "-3", "-")
	without := func(text string, drop ...string) string {
		var kept strings.Builder
	lines:
		for line := range strings.Lines(text) {
			for _, part := range drop {
				if strings.Contains(strings.Join(strings.Fields(line), " "), part) {
					continue lines
				}
			}
			kept.WriteString(line)
		}
		return kept.String()
	}
	tests := []struct{ name, text, want string }{
		{"untouched", nsec, ""},
		{"untouched, NSEC3", nsec3, ""},
		{"expired", signed(t, plain, time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), "-P"), "not now"},
		{"another address", strings.ReplaceAll(nsec, "192.0.2.25", "192.0.2.26"), "does not fit the records"},
		{"no signature", without(nsec, "IN RRSIG A 13 3 3600"), "a.bad.test. A has no valid signature"},
		{"no DS signature", without(nsec, "IN RRSIG DS"), "sub.bad.test. DS has no valid signature"},
		{"a hole", without(nsec, "b.bad.test. 300 IN NSEC", "b.bad.test. 300 IN RRSIG NSEC"), "b.bad.test. has no NSEC"},
		{"a name left out", strings.ReplaceAll(nsec, "NSEC\tb.bad.test.", "NSEC\tns1.bad.test."), "the next name is b.bad.test."},
		{"a type left out", strings.ReplaceAll(nsec, "TXT RRSIG NSEC", "RRSIG NSEC"), "the list of types"},
		{"a name more", nsec + "c 3600 IN A 192.0.2.1\n", "c.bad.test. has no NSEC"},
		{"a name more, NSEC3", nsec3 + "c 3600 IN A 192.0.2.1\n", "c.bad.test. has no NSEC3"},
		{"a signature of nothing", without(nsec, "b.bad.test. 3600 IN TXT"), "which is not there"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report, err := zonecheck.Check(strings.NewReader(test.text), zonecheck.Options{Origin: "bad.test"})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && len(report.Findings) > 0:
				t.Errorf("we find %v, want nothing", report.Findings)
			case test.want != "" && !hasFinding(report, "error", test.want):
				t.Errorf("we find %v, want an error: %s", report.Findings, test.want)
			}
		})
	}
}
