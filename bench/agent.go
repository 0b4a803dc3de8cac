package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// manner is how an agent answers. Zero: at once, everything.
type manner struct {
	silent    bool          // it answers nothing
	loss      float64       // share of OPTIONS that it does not answer
	low, high time.Duration // delay of its answers to OPTIONS, between the two
	failed    float64       // share of INVITEs that it answers with 500
	slow      time.Duration // delay of its answers to INVITE
}

// agent is a SIP endpoint over UDP: a feature server that takes calls, or a caller.
type agent struct {
	addr string // host:port
	conn *net.UDPConn
	done chan struct{}

	mu      sync.Mutex // guards what follows
	manner  manner
	random  *rand.Rand
	byes    map[string]time.Time   // when the first BYE of a call came, by Call-ID
	waiting map[string]chan string // final responses, by Call-ID and method
	calls   int
}

// agentAt starts an agent at an address, port 5060.
func agentAt(host string) (*agent, error) {
	return listenAgent(netip.AddrPortFrom(netip.MustParseAddr(host), sipPort))
}

func listenAgent(at netip.AddrPort) (*agent, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listen as a SIP endpoint: %w", err)
	}
	seed := at.Addr().As4()
	a := &agent{
		addr: conn.LocalAddr().String(), conn: conn, done: make(chan struct{}),
		random: rand.New(rand.NewPCG(uint64(seed[2])<<8|uint64(seed[3]), 7)),
		byes:   make(map[string]time.Time), waiting: make(map[string]chan string),
	}
	go a.serve()
	return a, nil
}

// stop closes the agent's socket, so that its host refuses what comes.
func (a *agent) stop() {
	a.conn.Close()
	<-a.done
}

// again starts an agent at the address of one that was stopped.
func (a *agent) again() (*agent, error) {
	return listenAgent(netip.MustParseAddrPort(a.addr))
}

func (a *agent) be(m manner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.manner = m
}

func (a *agent) serve() {
	defer close(a.done)
	buf := make([]byte, 65536)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if text := string(buf[:n]); strings.HasPrefix(text, "SIP/") {
			a.answered(text)
		} else {
			a.asked(text, from)
		}
	}
}

// asked answers a request.
func (a *agent) asked(text string, from netip.AddrPort) {
	now := time.Now()
	method, _, _ := strings.Cut(text, " ")
	id := field(text, "Call-ID")
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.manner
	if m.silent || method == "ACK" || method == "OPTIONS" && a.random.Float64() < m.loss {
		return
	}
	status, delay := "200 OK", time.Duration(0)
	switch method {
	case "OPTIONS":
		delay = m.low + time.Duration(a.random.Float64()*float64(m.high-m.low))
	case "INVITE":
		if delay = m.slow; a.random.Float64() < m.failed {
			status = "500 Server Internal Error"
		}
	case "BYE":
		if a.byes[id].IsZero() {
			a.byes[id] = now
		}
	}
	reply := []byte(a.response(text, status))
	if delay == 0 {
		a.conn.WriteToUDPAddrPort(reply, from)
		return
	}
	time.AfterFunc(delay, func() { a.conn.WriteToUDPAddrPort(reply, from) })
}

// response writes a response to a request.
func (a *agent) response(request, status string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, value := range fields(request, name) {
			if name == "To" && !strings.Contains(value, "tag=") {
				value += ";tag=agent"
			}
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	b.WriteString("Contact: <sip:agent@" + a.addr + ">\r\nContent-Length: 0\r\n\r\n")
	return b.String()
}

// answered hands a final response to who waits for it.
func (a *agent) answered(text string) {
	if strings.HasPrefix(text, "SIP/2.0 1") {
		return
	}
	_, method, _ := strings.Cut(field(text, "CSeq"), " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.waiting[field(text, "Call-ID")+" "+method] <- text:
	default: // it has one already
	}
}

// dialog is a call that an agent has made.
type dialog struct {
	id, from, to string
	target       string
	routes       []string
}

// call makes a call through an edge and acknowledges the answer.
func (a *agent) call(ctx context.Context, edge, uri string) (*dialog, error) {
	a.mu.Lock()
	a.calls++
	d := &dialog{id: fmt.Sprintf("%d.%d@%s", a.calls, time.Now().UnixNano(), a.addr), to: "<" + uri + ">", target: uri}
	a.mu.Unlock()
	d.from = "<sip:caller@" + a.addr + ">;tag=" + fmt.Sprint(len(d.id))
	text, err := a.ask(ctx, edge, d, "INVITE", 1)
	if err != nil {
		return nil, err
	}
	d.to = field(text, "To")
	if !strings.HasPrefix(text, "SIP/2.0 2") {
		a.send(edge, d.request(a.addr, "ACK", 1, "z9hG4bKINVITE"+d.id))
		first, _, _ := strings.Cut(text, "\r\n")
		return nil, fmt.Errorf("call %s: %s", d.id, first)
	}
	d.routes = slices.Clone(fields(text, "Record-Route"))
	slices.Reverse(d.routes)
	d.target = strings.Trim(field(text, "Contact"), "<>")
	a.send(edge, d.request(a.addr, "ACK", 1, "z9hG4bKACK"+d.id))
	return d, nil
}

// ask sends a request of a dialog, again and again (RFC 3261 section 17.1), and returns the final response.
func (a *agent) ask(ctx context.Context, edge string, d *dialog, method string, number int) (string, error) {
	key, came := d.id+" "+method, make(chan string, 1)
	a.mu.Lock()
	a.waiting[key] = came
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, key)
		a.mu.Unlock()
	}()
	for wait := 500 * time.Millisecond; ; wait *= 2 {
		a.send(edge, d.request(a.addr, method, number, "z9hG4bK"+method+d.id))
		select {
		case text := <-came:
			return text, nil
		case <-ctx.Done():
			return "", fmt.Errorf("%s %s is not answered: %w", method, d.id, ctx.Err())
		case <-time.After(wait):
		}
	}
}

func (a *agent) send(edge, text string) {
	// What is lost, or refused, is sent again.
	_, _ = a.conn.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort(edge))
}

// request writes a request of the dialog.
func (d *dialog) request(own, method string, number int, branch string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=%s;rport\r\nMax-Forwards: 70\r\n", method, d.target, own, branch)
	for _, route := range d.routes {
		b.WriteString("Route: " + route + "\r\n")
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:caller@%s>\r\nContent-Length: 0\r\n\r\n",
		d.from, d.to, d.id, number, method, own)
	return b.String()
}

// byeOf returns when the first BYE of a call came, zero before.
func (a *agent) byeOf(id string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byes[id]
}

// fields returns the values of a message's header lines with a name, one value each line.
func fields(text, name string) (values []string) {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// field returns the first of them, "" when there is none.
func field(text, name string) string {
	if all := fields(text, name); len(all) > 0 {
		return all[0]
	}
	return ""
}
