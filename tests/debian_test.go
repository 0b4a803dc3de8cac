package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebianScript runs tests/debian.sh on a pretended machine that has only the programs it is
// given: apt-get and its relations are played by small scripts, so nothing is fetched.
func TestDebianScript(t *testing.T) {
	const (
		user    = "#!/bin/sh\necho 1000\n"
		root    = "#!/bin/sh\necho 0\n"
		offline = "#!/bin/sh\necho \"$*\" >>$CALLS\necho 'E: Unable to fetch some archives' >&2\nexit 100\n"
		// A package manager that makes each package's program appear.
		working = "#!/bin/sh\necho \"$*\" >>$CALLS\nfor p in dig fstrm_capture kdig sipp baresip curl jq openssl taskset; do printf '#!/bin/sh\n' >$BIN/$p; chmod 755 $BIN/$p; done\n"
		refusal = "#!/bin/sh\nexit 1\n"
		allowed = "#!/bin/sh\ntest \"$1\" = -n && shift\nexec \"$@\"\n"
	)
	all := map[string]string{
		"dig": refusal, "fstrm_capture": refusal, "kdig": refusal, "sipp": refusal, "baresip": refusal,
		"curl": refusal, "jq": refusal, "openssl": refusal, "taskset": refusal,
	}
	cases := []struct {
		name, command string
		programs      map[string]string
		have          map[string]string
		want          string // the one line on standard error; "" for success
		calls         string // of apt-get
	}{
		{name: "everything is there", command: "clients", programs: map[string]string{"id": user}, have: all},
		{name: "root installs", command: "clients", programs: map[string]string{"id": root, "apt-get": working},
			calls: "install -q -y --no-install-recommends baresip-core bind9-dnsutils curl fstrm-bin jq knot-dnsutils openssl sip-tester util-linux\n"},
		{name: "sudo installs", command: "clients", programs: map[string]string{"id": user, "sudo": allowed, "apt-get": working},
			calls: "install -q -y --no-install-recommends baresip-core bind9-dnsutils curl fstrm-bin jq knot-dnsutils openssl sip-tester util-linux\n"},
		{name: "neither root nor sudo", command: "clients", programs: map[string]string{"id": user, "apt-get": working}, have: without(all, "sipp"),
			want: "cannot install sip-tester: neither root nor sudo without a password; install by hand: apt-get install sip-tester"},
		{name: "sudo refuses", command: "clients", programs: map[string]string{"id": user, "sudo": refusal, "apt-get": working}, have: without(all, "jq"),
			want: "cannot install jq: neither root nor sudo"},
		{name: "no network", command: "clients", programs: map[string]string{"id": root, "apt-get": offline}, have: without(all, "kdig"),
			want:  "cannot get Debian's package lists for knot-dnsutils: E: Unable to fetch some archives",
			calls: "install -q -y --no-install-recommends knot-dnsutils\nupdate -q\n"},
		{name: "not Debian", command: "clients", programs: map[string]string{"id": root}, have: without(all, "curl"),
			want: "cannot install curl: no apt-get here"},
		{name: "daemons without a network", command: "peers", programs: map[string]string{"id": root, "apt-get": offline},
			want: "cannot get Debian's package lists for nsd: E: Unable to fetch some archives", calls: "download -q nsd\nupdate -q\n"},
		{name: "daemons, not Debian", command: "peers", programs: map[string]string{"id": root},
			want: "cannot download nsd knot bind9 gdnsd kamailio knot-dnssecutils bind9-utils bind9-utils unbound: no apt-get here"},
		{name: "wrong usage", command: "everything", programs: map[string]string{"id": root},
			want: "usage: debian.sh compiler|clients|peers|libraries"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bin := pretendMachine(t, c.programs, c.have)
			calls := filepath.Join(bin, "calls")
			cmd := exec.Command("bash", "debian.sh", c.command)
			cmd.Env = []string{
				"PATH=" + bin, "BIN=" + bin, "CALLS=" + calls, "TMPDIR=" + bin,
				"TANDEM_DEBIAN_CACHE=" + filepath.Join(bin, "cache"),
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			err := cmd.Run()
			if (err == nil) != (c.want == "") {
				t.Errorf("debian.sh %s ended with %v, standard error %q", c.command, err, stderr.String())
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, c.want) {
				t.Errorf("last line is %q, want %q in it", last, c.want)
			}
			if c.want != "" && len(lines) > 2 {
				t.Errorf("standard error has %d lines, want one clear one: %q", len(lines), stderr.String())
			}
			if got, _ := os.ReadFile(calls); string(got) != c.calls {
				t.Errorf("apt-get was asked %q, want %q", got, c.calls)
			}
		})
	}
}

// pretendMachine makes a directory that holds the few basic programs the script may count on, and
// the given ones.
func pretendMachine(t *testing.T, programs ...map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"bash", "sh", "env", "cat", "mktemp", "mkdir", "mv", "rm", "chmod", "sort", "tr", "grep", "tail", "dirname", "flock", "awk", "uname", "find", "touch", "ls", "true"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, set := range programs {
		for name, text := range set {
			if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bin
}

// without returns a copy of m that lacks name.
func without(m map[string]string, name string) map[string]string {
	rest := make(map[string]string, len(m))
	for k, v := range m {
		if k != name {
			rest[k] = v
		}
	}
	return rest
}
