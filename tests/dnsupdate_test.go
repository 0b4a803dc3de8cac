package tests

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// updatableZone is a zone that a key may update, and a key of account 1001 in the zone of accounts.
const updatableZone = `
{kind: TSIGKey, id: ops, secret: SECRET}
---
{kind: TSIGKey, id: tenant, account: "1001", secret: SECRET}
---
kind: Zone
id: dyn.example.net
role: plain
records: |
  a A 192.0.2.1
  a A 192.0.2.2
  a TXT "x"
  alias CNAME a
  b.ent TXT "deep"
updates: [{key: ops}]
---
kind: Zone
id: voice.example.net
role: accounts
serviceZone: svc.voice.example.net
edges: [edge1]
updates: [{key: tenant}]
`

func startUpdatable(t *testing.T) *server {
	t.Helper()
	s := startServer(t)
	s.apply(strings.ReplaceAll(updatableZone, "SECRET", updateSecret()))
	return s
}

func updateSecret() string {
	return base64.StdEncoding.EncodeToString([]byte("a secret of 16 octets or more"))
}

// nsupdate has Knot's or BIND's client send a script, and returns the status of the answer.
func (s *server) nsupdate(program, key, script string) string {
	s.t.Helper()
	args := []string{"-t", "5"}
	if program == "nsupdate" {
		args = append(args, "-r", "0", "-u", "5")
	} else {
		args = append(args, "-r", "0")
	}
	if key != "" {
		args = append(args, "-y", "hmac-sha256:"+key+":"+updateSecret())
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s 5300\n", s.addr(1)) + script + "\nsend\nanswer\nquit\n")
	out, err := cmd.CombinedOutput()
	status := ""
	for line := range strings.Lines(string(out)) {
		if _, after, ok := strings.Cut(line, "status: "); ok {
			status = strings.FieldsFunc(after, func(r rune) bool { return r == ';' || r == ',' || r == '\n' || r == ' ' })[0]
		}
	}
	if status == "" {
		s.t.Fatalf("%s: %v, no answer to\n%s\n%s", program, err, script, out)
	}
	return status
}

// TestDynamicUpdate replays scripts with both clients of Debian; each begins with what the ones before left.
func TestDynamicUpdate(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"knsupdate", "nsupdate"} {
		t.Run(program, func(t *testing.T) {
			s := startUpdatable(t)
			for _, c := range []struct{ script, status, name, rrtype, want string }{
				{"update add n.dyn.example.net 60 A 192.0.2.9", "NOERROR", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq nxdomain n.dyn.example.net\nupdate add n.dyn.example.net 60 A 192.0.2.10", "YXDOMAIN", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq yxdomain none.dyn.example.net\nupdate add n.dyn.example.net 60 A 192.0.2.10", "NXDOMAIN", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq yxdomain ent.dyn.example.net\nupdate add n.dyn.example.net 60 A 192.0.2.10", "NXDOMAIN", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq nxrrset n.dyn.example.net A\nupdate delete n.dyn.example.net", "YXRRSET", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq yxrrset n.dyn.example.net TXT\nupdate delete n.dyn.example.net", "NXRRSET", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq yxrrset n.dyn.example.net A 192.0.2.8\nupdate delete n.dyn.example.net", "NXRRSET", "n.dyn.example.net", "A", "192.0.2.9"},
				{"prereq yxrrset n.dyn.example.net A 192.0.2.9\nupdate delete n.dyn.example.net A 192.0.2.9\nupdate add n.dyn.example.net 60 CNAME a", "NOERROR", "n.dyn.example.net", "CNAME", "a.dyn.example.net."},
				{"update add n.dyn.example.net 60 A 192.0.2.9", "NOERROR", "n.dyn.example.net", "CNAME", "a.dyn.example.net."},
				{"update add a.dyn.example.net 60 CNAME b", "NOERROR", "a.dyn.example.net", "CNAME", ""},
				{"update delete a.dyn.example.net A 192.0.2.1", "NOERROR", "a.dyn.example.net", "A", "192.0.2.2"},
				{"update delete a.dyn.example.net A", "NOERROR", "a.dyn.example.net", "TXT", `"x"`},
				{"update delete a.dyn.example.net\nupdate add a.dyn.example.net 60 TXT \"y;z\"", "NOERROR", "a.dyn.example.net", "TXT", `"y;z"`},
				{"update add _sip._udp.dyn.example.net 60 SRV 1 2 5060 a.dyn.example.net.", "NOERROR", "_sip._udp.dyn.example.net", "SRV", "1 2 5060 a.dyn.example.net."},
				{"update delete dyn.example.net NS", "REFUSED", "dyn.example.net", "NS", "ns.dyn.example.net."},
				{"update add typ.dyn.example.net 60 TYPE65400 \\# 3 010203", "NOERROR", "typ.dyn.example.net", "TYPE65400", "\\# 3 010203"},
			} {
				script := "zone dyn.example.net\n" + c.script
				script = strings.ReplaceAll(script, "CNAME a", "CNAME a.dyn.example.net.")
				if got := s.nsupdate(program, "ops", script); got != c.status {
					t.Errorf("%s: %s, want %s", c.script, got, c.status)
				}
				if got := strings.Join(datas(s.dig(c.name, c.rrtype).answer), ","); got != c.want {
					t.Errorf("after %s: %s %s is %q, want %q", c.script, c.name, c.rrtype, got, c.want)
				}
			}
			for _, c := range []struct{ key, script, status string }{
				{"", "zone dyn.example.net\nupdate add u.dyn.example.net 60 TXT x", "REFUSED"},
				{"tenant", "zone dyn.example.net\nupdate add u.dyn.example.net 60 TXT x", "REFUSED"},
				{"tenant", "zone voice.example.net\nupdate add _acme-challenge.alpha.voice.example.net 60 TXT token", "NOERROR"},
				{"tenant", "zone voice.example.net\nupdate add _acme-challenge.bravo.voice.example.net 60 TXT token", "REFUSED"},
				{"ops", "zone other.example.net\nupdate add u.other.example.net 60 TXT x", "NOTAUTH"},
			} {
				if got := s.nsupdate(program, c.key, c.script); got != c.status {
					t.Errorf("by %q, %s: %s, want %s", c.key, c.script, got, c.status)
				}
			}
			if got := datas(s.dig("_acme-challenge.alpha.voice.example.net", "TXT").answer); len(got) != 1 || got[0] != `"token"` {
				t.Errorf("the account's challenge is %v", got)
			}
			if out := s.must("get", "RecordSet"); !strings.Contains(out, "_acme-challenge.alpha.voice.example.net") || !strings.Contains(out, "1001") {
				t.Errorf("tandem get RecordSet:\n%s", out)
			}
		})
	}
}

// datas returns the data of records as dig prints them.
func datas(records []string) []string {
	var out []string
	for _, r := range records {
		if f := strings.SplitN(r, " ", 5); len(f) == 5 {
			out = append(out, f[4])
		}
	}
	return out
}

// TestUpdateSurvivesAKill: what an update's answer has acknowledged is there after kill -9.
func TestUpdateSurvivesAKill(t *testing.T) {
	t.Parallel()
	s := startUpdatable(t)
	for round := range 3 {
		var script strings.Builder
		script.WriteString(fmt.Sprintf("server %s 5300\nzone dyn.example.net\n", s.addr(1)))
		for i := range 2000 {
			fmt.Fprintf(&script, "update add k%d-%d.dyn.example.net 60 TXT %d\nsend\n", round, i, i)
		}
		cmd := exec.Command("nsupdate", "-d", "-t", "2", "-u", "1", "-r", "0", "-y", "hmac-sha256:ops:"+updateSecret())
		cmd.Stdin = strings.NewReader(script.String())
		out, err := os.Create(s.path(fmt.Sprint("nsupdate-", round)))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "some updates are acknowledged", func() bool { return replies(out.Name()) >= 20 })
		s.kill()
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
		known := replies(out.Name())
		s.start()
		for i := range known {
			name := fmt.Sprintf("k%d-%d.dyn.example.net", round, i)
			if got := datas(s.dig(name, "TXT").answer); len(got) != 1 || got[0] != fmt.Sprintf(`"%d"`, i) {
				t.Fatalf("%s was acknowledged and is %v now", name, got)
			}
		}
	}
}

// replies counts the updates that nsupdate's output says were done.
func replies(path string) int {
	text, _ := os.ReadFile(path)
	n := 0
	for _, reply := range strings.Split(string(text), "Reply from update query:")[1:] {
		if head, _, _ := strings.Cut(reply, ";; flags"); strings.Contains(head, "status: NOERROR") {
			n++
		}
	}
	return n
}
