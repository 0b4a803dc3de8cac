package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A backup made while it runs becomes a data directory that serves the same names, registrations
// and secrets once the node key stands beside it.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.phone(101, "uac_request", fromAlice("REGISTER")).succeed()
	backup, restored := s.path("backup"), s.path("restored")
	s.must("store", "backup", backup)
	s.apply(`{kind: Account, id: "1009", zone: voice.example.net, labels: [{label: late}], group: gold}`)
	if out, code := s.run("", "store", "backup", backup); code != 1 || !strings.Contains(out, backup) {
		t.Errorf("a backup over a backup: exit %d\n%s", code, out)
	}
	key, err := os.ReadFile(s.path("data/node.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.must("store", "restore", backup, restored)
	if err := os.WriteFile(filepath.Join(restored, "node.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(serveConfig, "DIR/data", restored, 1))
	s.start()
	if reply := s.dig("alpha.voice.example.net", "NAPTR"); reply.status != "NOERROR" {
		t.Errorf("restored: %s, want the account's name", reply.status)
	}
	if settings, _ := s.profile("phone-a"); settings.Password != "alice-secret" {
		t.Errorf("restored, the device's password is %q", settings.Password)
	}
	if got := s.must("sip", "registrations", "--account", "1001"); !strings.Contains(got, s.addr(101)) {
		t.Errorf("restored, the registration is gone:\n%s", got)
	}
	// Twin: what came after the backup is not in it.
	if reply := s.dig("late.voice.example.net", "NAPTR"); reply.status != "NXDOMAIN" {
		t.Errorf("an account made after the backup: %s, want NXDOMAIN", reply.status)
	}
}

// A store that is damaged or not a store is one clear line and exit 1, never a trace and never a new
// store in its place.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"somebody else's files", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(dir, "photos", "cat.jpg"), "not a store")
		}},
		{"the marker is gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "STORE")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a marker of another version", func(t *testing.T, dir string) {
			overwrite(t, filepath.Join(dir, "STORE"), `{"format":999,"id":"x","stage":"ready"}`)
		}},
		{"the objects are gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
				t.Fatal(err)
			}
		}},
		{"the manifest is rubbish", func(t *testing.T, dir string) {
			found, _ := filepath.Glob(filepath.Join(dir, "objects", "MANIFEST-*"))
			if len(found) == 0 {
				t.Fatal("no manifest to damage")
			}
			for _, path := range found {
				overwrite(t, path, strings.Repeat("rubbish", 100))
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t)
			s.stop()
			c.damage(t, s.path("data"))
			out, code := s.run("", "serve", "-c", s.path("tandem.yaml"))
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, s.path("data")) {
				t.Errorf("exit %d, %q, want 1 and a line that names the directory", code, last)
			}
			if strings.Contains(out, "goroutine ") {
				t.Errorf("printed a trace\n%s", out)
			}
			if _, again := s.run("", "serve", "-c", s.path("tandem.yaml")); again != 1 {
				t.Errorf("the second try: exit %d, want 1 as well: nothing may have been made anew", again)
			}
		})
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
