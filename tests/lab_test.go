package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startLab runs `tandem lab` on the ports of the quick start and returns its working directory,
// which holds the binary as ./tandem.
func startLab(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the ports of the quick start are free: stop whatever listens on 127.0.0.1:5300", func() bool {
		return !isListening("127.0.0.1:5300")
	})
	dir, err := os.MkdirTemp(workshop, "lab-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "tandem")); err != nil {
		t.Fatal(err)
	}
	quickStart, err := os.ReadFile("../tandem.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tandem.yaml"), quickStart, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	lab := exec.Command("./tandem", "lab")
	lab.Dir, lab.Stdout, lab.Stderr = dir, log, log
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- lab.Wait() }()
	t.Cleanup(func() {
		lab.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("tandem lab ended with %v after SIGTERM", err)
			}
		case <-time.After(15 * time.Second):
			lab.Process.Kill()
			t.Error("tandem lab runs on 15 s after SIGTERM")
		}
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the lab printed:\n%s", tail(string(text), 80))
		}
	})
	eventually(t, time.Minute, "the lab is ready", func() bool {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("tandem lab ended with %v\n%s", err, text)
		default:
		}
		return strings.Contains(string(text), "The lab is ready")
	})
	return dir
}
