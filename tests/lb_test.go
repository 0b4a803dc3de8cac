package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// talk is one call of a phone that has a socket of its own, so that a test can say what happens
// next in it and when.
type talk struct {
	*handset
	d        dialogue // of the INVITE
	password string   // "" for who is not challenged
	invite   string   // as sent last
	answer   message  // the final response
	focus    bool     // it says that it is a conference (RFC 4579)
}

// session is the least that a phone offers.
const session = "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"

// patience is how long a peer waits for what must come.
const patience = 15 * time.Second

// dial makes a call from a host of the block and returns once it is answered or refused.
func (s *server) dial(host int, r request) *talk {
	s.t.Helper()
	c := s.invite(host, r)
	c.settle()
	return c
}

// ringing makes a call from a host of the block and returns once it rings.
func (s *server) ringing(host int, r request) *talk {
	s.t.Helper()
	c := s.invite(host, r)
	for deadline := time.Now().Add(patience); ; {
		m, ok := c.receive(time.Until(deadline))
		switch {
		case !ok:
			s.t.Fatalf("the call to %s does not ring", r.to)
		case m.uri() == "180":
			return c
		case m.method() == "" && m.uri() >= "200":
			s.t.Fatalf("the call to %s does not ring but gets %s", r.to, m.start())
		}
	}
}

// invite sends a call's INVITE, with credentials if the caller has any.
func (s *server) invite(host int, r request) *talk {
	s.t.Helper()
	user, _, _ := strings.Cut(r.from, "@")
	c := &talk{handset: s.handset(host, user), password: r.password}
	kind := "Content-Type: application/sdp"
	c.d = dialogue{method: "INVITE", from: r.from, to: r.to, uri: r.uri, body: session, header: strings.TrimSpace(r.header + "\n" + kind)}
	c.d.callID = fmt.Sprintf("%016x@talk", rand.Uint64())
	if c.d.uri == "" {
		c.d.uri = "sip:" + r.to
	}
	d := c.d
	if r.password != "" {
		name, answer := c.answerTo(c.ask(d), d, "MD5", r.password)
		d.header += "\n" + name + ": " + answer
	}
	c.invite = c.write(d)
	c.send(c.invite)
	return c
}

// settle waits for the final response to the INVITE and acknowledges it.
func (c *talk) settle() string {
	c.t.Helper()
	c.answer = c.response()
	c.acknowledge(c.answer)
	return c.answer.uri()
}

// response waits for the final response to the request sent last.
func (c *talk) response() message {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		m, ok := c.receive(time.Until(deadline))
		if !ok {
			c.t.Errorf("%s: no final response to request %d of the call to %s", c.user, c.cseq, c.d.to)
			return message{}
		}
		number, _, _ := strings.Cut(strings.Join(m.header("CSeq"), ""), " ")
		if m.method() == "" && m.uri() >= "200" && number == strconv.Itoa(c.cseq) {
			return m
		}
	}
}

// acknowledge sends the ACK of the INVITE sent last.
func (c *talk) acknowledge(m message) {
	if m.text == "" {
		return
	}
	c.cseq--
	d := c.inside("ACK")
	if m.uri() >= "300" {
		d.uri, d.header = c.d.uri, ""
		d.toTag = tagOf(m)
	}
	ack := c.write(d)
	if m.uri() >= "300" { // it is the INVITE transaction's own
		ack = strings.Replace(ack, viaOf(ack), viaOf(c.invite), 1)
	}
	c.send(ack)
}

func viaOf(text string) string { return strings.Join(message{text: text}.header("Via"), "") }

func tagOf(m message) string {
	if _, tag, ok := strings.Cut(strings.Join(m.header("To"), ""), ";tag="); ok {
		return ";tag=" + tag
	}
	return ""
}

// inside is a request within the dialog that the 2xx made (RFC 3261 section 12.2.1.1).
func (c *talk) inside(method string) dialogue {
	d := dialogue{method: method, from: c.d.from, to: c.d.to, callID: c.d.callID, toTag: tagOf(c.answer)}
	contact := strings.Join(c.answer.header("Contact"), "")
	d.uri, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(contact), "<"), ">")
	var routes []string
	for _, line := range c.answer.header("Record-Route") {
		for route := range strings.SplitSeq(line, ",") {
			routes = append([]string{"Route: " + strings.TrimSpace(route)}, routes...)
		}
	}
	d.header = strings.Join(routes, "\n")
	return d
}

// within sends a request of the dialog, with credentials if it is challenged, and returns its final
// response.
func (c *talk) within(method, body string) message {
	c.t.Helper()
	d := c.inside(method)
	if body != "" {
		d.header, d.body = d.header+"\nContent-Type: application/sdp", body
	}
	return c.converse(d)
}

// converse sends d and what its challenge asks for.
func (c *talk) converse(d dialogue) message {
	c.t.Helper()
	for range 2 {
		c.invite = c.write(d)
		if own := fmt.Sprintf("Contact: <sip:%s@%s>", c.user, c.conn.LocalAddr()); c.focus {
			c.invite = strings.Replace(c.invite, own, own+";isfocus", 1)
		}
		c.send(c.invite)
		m := c.response()
		if d.method == "INVITE" {
			answer := c.answer
			if m.uri() >= "300" {
				c.acknowledge(m)
			} else {
				c.acknowledge(answer)
			}
		}
		if m.uri() != "407" || c.password == "" {
			return m
		}
		name, answer := c.answerTo(m, d, "MD5", c.password)
		d.header += "\n" + name + ": " + answer
	}
	return message{}
}

// bye hangs up and returns the status of the answer.
func (c *talk) bye() string {
	c.t.Helper()
	return c.within("BYE", "").uri()
}

// cancel gives up a call that rings, and returns the status that it ends with.
func (c *talk) cancel() string {
	c.t.Helper()
	text := strings.Replace(c.invite, "INVITE ", "CANCEL ", 1)
	text = strings.Replace(text, fmt.Sprintf("CSeq: %d INVITE", c.cseq), fmt.Sprintf("CSeq: %d CANCEL", c.cseq), 1)
	head, _, _ := strings.Cut(text, "Content-Type:")
	c.send(head + "Content-Length: 0\r\n\r\n")
	for range 8 {
		if m := c.response(); m.text == "" || strings.HasSuffix(strings.Join(m.header("CSeq"), ""), "INVITE") {
			c.answer = m
			c.acknowledge(m)
			return m.uri()
		}
	}
	return ""
}

// told waits for a request, answers it with 200 and returns it.
func (c *talk) told(method string) message {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		m, ok := c.receive(time.Until(deadline))
		if !ok {
			c.t.Errorf("%s: the call to %s got no %s", c.user, c.d.to, method)
			return message{}
		}
		if m.method() == method {
			c.send(respond(m, "200 OK", "phone"))
			return m
		}
	}
}

// is fails the test unless the call's INVITE ended so: a status, and for a refusal the unmet
// condition, as in "486 permitted".
func (c *talk) is(want string) {
	c.t.Helper()
	status, text, refused := strings.Cut(want, " ")
	reason := strings.Join(c.answer.header("Reason"), "")
	wantReason := fmt.Sprintf(`SIP;cause=%s;text="%s"`, status, text)
	if got := c.answer.uri(); got != status || refused && reason != wantReason {
		c.t.Errorf("%s to %s: %q with Reason %q, want %s", c.d.from, c.d.to, c.answer.start(), reason, want)
	}
	if after := strings.Join(c.answer.header("Retry-After"), ""); refused && (after != "") != (status == "503") {
		c.t.Errorf("%s to %s: Retry-After %q with %s", c.d.from, c.d.to, after, want)
	}
}

// metric returns the sum of a metric's samples, of those whose labels contain the text if one is given.
func (s *server) metric(name string, label ...string) float64 {
	s.t.Helper()
	answer, err := http.Get("http://" + s.addr(1) + ":9153/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, labels, _ := strings.Cut(sample, "{")
		if base != name || len(label) > 0 && !strings.Contains(labels, label[0]) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.t.Fatalf("metric %s: %v", line, err)
		}
		sum, found = sum+number, true
	}
	if !found {
		s.t.Fatalf("there is no metric %s %v", name, label)
	}
	return sum
}

// free waits until no call holds a slot, and checks that none was given back too often.
func (s *server) free(within time.Duration) {
	s.t.Helper()
	left := 0.0
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if left = s.metric("tandem_lb_slots"); left == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Errorf("after %s calls still hold %.0f slots: %+v", within, left, s.open())
			break
		}
	}
	for _, name := range []string{"tandem_lb_negative_total", "tandem_lb_released_twice_total"} {
		if n := s.metric(name); n != 0 {
			s.t.Errorf("%s is %.0f, want 0", name, n)
		}
	}
}

// open returns the calls that have not ended.
func (s *server) open() []tandem.Call {
	s.t.Helper()
	return slices.DeleteFunc(s.records(), func(c tandem.Call) bool { return c.State == tandem.CallEnded })
}

// records returns the records of calls, oldest first, that the flags choose.
func (s *server) records(flags ...string) []tandem.Call {
	s.t.Helper()
	out := s.must(append([]string{"call", "export", "--format", "jsonl"}, flags...)...)
	var all []tandem.Call
	for line := range strings.Lines(out) {
		var c tandem.Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			s.t.Fatalf("%v in %s", err, line)
		}
		all = append(all, c)
	}
	return all
}

// record returns the record of the call with this Call-ID, once it is written as wanted.
func (s *server) record(callID, what string, ok func(tandem.Call) bool) (found tandem.Call) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, "the record of "+callID+" shows "+what, func() bool {
		for _, c := range s.records() {
			if c.CallID == callID {
				found = c
				return ok(c)
			}
		}
		return false
	})
	return found
}

// stands returns how clusters stand, and one group if it is named.
func (s *server) stands(group ...string) control.Balance {
	s.t.Helper()
	c := control.NewClient(s.path("tandem.sock"))
	defer c.Close()
	b, err := c.Balance(s.t.Context(), control.BalanceOf{Group: strings.Join(group, "")})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// clusterOf returns the cluster that tier 1 gave a group, "" for none.
func (s *server) clusterOf(group string) string {
	s.t.Helper()
	b := s.stands(group)
	if len(b.Groups) != 1 || b.Groups[0].ID != group {
		s.t.Fatalf("tandem lb status %s shows %+v", group, b.Groups)
	}
	return b.Groups[0].Cluster
}

// stateOf returns how a node is found to be.
func (s *server) stateOf(node string) string {
	s.t.Helper()
	for _, c := range s.stands().Clusters {
		for _, n := range c.Nodes {
			if n.ID == node {
				return n.State
			}
		}
	}
	s.t.Fatalf("tandem lb status does not show %s", node)
	return ""
}

// found waits until a node is found to be in a state.
func (s *server) found(node, state string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, node+" is "+state, func() bool { return s.stateOf(node) == state })
}

// invites counts the calls that a sipp node was sent.
func (p *sipp) invites() int {
	calls := make(map[string]bool)
	for _, m := range p.requests("INVITE") {
		calls[strings.Join(m.header("Call-ID"), "")] = true
	}
	return len(calls)
}

// unpin lets tier 1 choose the clusters of the little telco's groups.
func (s *server) unpin() {
	s.t.Helper()
	s.apply("{kind: Group, id: gold}\n---\n{kind: Group, id: silver}")
}

func TestTalkReadsTags(t *testing.T) {
	m := message{text: "SIP/2.0 200 OK\nTo: <sip:a@b>;tag=x\n\n"}
	if got := tagOf(m); got != ";tag=x" {
		t.Errorf("tagOf = %q", got)
	}
	if got := tagOf(message{text: "SIP/2.0 200 OK\nTo: <sip:a@b>\n\n"}); got != "" {
		t.Errorf("tagOf without a tag = %q", got)
	}
}
