// Package tests looks at the product from outside: end to end against a real process and real
// peers (dig, kdig, sipp, baresip), the rules of the house, and the examples in the documentation.
//
// A test here builds nothing of its own beside the binary, which is built once. Each test that
// starts a process leases a block of loopback addresses and a directory of its own, so that tests
// may run at once and beside another run of themselves.
package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// workshop is where this run keeps its binary and its processes' files.
var workshop = filepath.Join(os.TempDir(), fmt.Sprintf("tandem-tests-%d", os.Getpid()))

// program builds tandem, once, and returns its path.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workshop, "tandem")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/tandem")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if err := os.MkdirAll(workshop, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if os.Getenv("TANDEM_KEEP") == "" {
		os.RemoveAll(workshop)
	}
	os.Exit(code)
}
