package sipproxy

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tortureMessages reads the messages of RFC 4475 that package wire has in its testdata.
func tortureMessages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("wire/testdata/torture/3.*.txt")
	if err != nil || len(files) != 49 {
		t.Fatalf("%d messages, want 49; %v", len(files), err)
	}
	octet := regexp.MustCompile(`\\x[0-9A-F]{2}`)
	out := make(map[string]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, msg, _ := strings.Cut(string(text), "\n---\n")
		msg = strings.ReplaceAll(strings.ReplaceAll(msg, "\n", "\r\n"), `\LF`, "\n")
		msg = octet.ReplaceAllStringFunc(msg, func(s string) string {
			n, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(n)})
		})
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".txt"), "-")
		out[name] = msg
	}
	return out
}

// TestTorture holds what comes of each message of RFC 4475 from somebody unknown: the status of our own
// answer, "" for none. Nothing of it may go anywhere else or leave anything behind. 404 says that the
// message was understood and names nobody here.
func TestTorture(t *testing.T) {
	want := map[string]string{
		// 3.1.1: valid
		"wsinv": "403", "intmeth": "404", "esc01": "404", "escnull": "404", "esc02": "404", "lwsdisp": "404", "longreq": "404",
		"dblreq": "404", "semiuri": "404", "transports": "404", "mpart01": "403", "unreason": "", "noreason": "",
		// 3.1.2: invalid; nothing is answered to a response. A Date that we do not read, and a Contact
		// when nobody is registered, are nobody's business yet.
		"badinv01": "400", "clerr": "400", "ncl": "400", "scalar02": "400", "scalarlg": "", "quotbal": "400", "ltgtruri": "400",
		"lwsruri": "400", "lwsstart": "400", "trws": "400", "escruri": "400", "baddate": "404", "regbadct": "404", "badaspec": "400",
		"baddn": "400", "badvers": "505", "mismatch01": "400", "mismatch02": "400", "bigcode": "",
		// 3.2, 3.3, 3.4
		"badbranch": "404", "insuf": "400", "unkscm": "416", "novelsc": "416", "unksm2": "404", "bext01": "420", "invut": "404",
		"regaut01": "404", "multi01": "400", "mcl01": "400", "bcast": "", "zeromf": "483", "cparam01": "404", "cparam02": "404",
		"regescrt": "404", "sdp01": "404", "inv2543": "404",
	}
	for name, text := range tortureMessages(t) {
		r := newRig(t)
		r.net.loose = true
		got := r.deliverRaw(strange, text)
		status := ""
		for _, l := range got {
			status += itoa(l.m.Status)
			if l.to.remote.Addr() != strange.remote.Addr() || l.m.Method != "" {
				t.Errorf("%s: %s", name, starts(got))
			}
		}
		if status != want[name] {
			t.Errorf("%s: answered %q, want %q", name, status, want[name])
		}
		if r.s.count.serverTx.Load() != 0 || r.s.count.clientTx.Load() != 0 {
			t.Errorf("%s: left a transaction", name)
		}
	}
}

// TestTortureOfTheRegistrar holds what comes of those that are for a registrar, from somebody known.
func TestTortureOfTheRegistrar(t *testing.T) {
	messages := tortureMessages(t)
	for name, want := range map[string]string{"regbadct": "400", "cparam01": "200", "cparam02": "200", "regescrt": "200"} {
		r := newRig(t)
		_, rest, _ := strings.Cut(messages[name], "\r\nContact: ")
		contact, _, _ := strings.Cut(rest, "\r\n")
		m := aliceMsg("REGISTER")
		text := func() string {
			return regexp.MustCompile(`Contact: <[^\r]*`).ReplaceAllLiteralString(m.text(phoneA), "Contact: "+contact)
		}
		p := alice()
		m.branch = "z9hG4bK1"
		p.challenged(t, r.one(r.deliverRaw(phoneA, text())))
		m.branch, m.cseq, m.extra = "z9hG4bK2", 2, p.credentials("Authorization", m.method, m.uri)
		got := r.one(r.deliverRaw(phoneA, text()))
		if s := itoa(got.m.Status); s != want {
			t.Errorf("%s: %s, want %s", name, got.start(), want)
		}
	}
	r := newRig(t)
	text := strings.ReplaceAll(messages["regaut01"], "sip:example.com", "sip:acme.voice.example.net")
	if got := r.one(r.deliverRaw(phoneA, text)); got.m.Status != 401 {
		t.Errorf("a scheme of its own: %s, want 401", got.start())
	}
	r.advance(time.Minute)
	r.empty()
}
