package tests

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// relay is a feature server that sends each call back to the edge, as a PBX does that knows the
// called phone only by its registration there. It stays in the signalling path by Record-Route, so
// that it is the middle of the call and not only its door.
type relay struct {
	t      testing.TB
	conn   *net.UDPConn
	own    string
	edge   *net.UDPAddr
	mu     sync.Mutex
	counts map[string]int
}

// backToBack starts a relay at a host of the block.
func (s *server) backToBack(host int) *relay {
	s.t.Helper()
	own := s.addr(host) + ":5060"
	local, err := net.ResolveUDPAddr("udp", own)
	if err != nil {
		s.t.Fatal(err)
	}
	edge, err := net.ResolveUDPAddr("udp", s.addr(1)+":5060")
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &relay{t: s.t, conn: conn, own: own, edge: edge, counts: make(map[string]int)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serve()
	}()
	s.t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return r
}

func (r *relay) serve() {
	buf := make([]byte, 65536)
	for {
		n, _, err := r.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		out := r.pass(string(buf[:n]))
		if out != "" {
			r.conn.WriteToUDP([]byte(out), r.edge)
		}
	}
}

// pass rewrites a message as the next hop shall see it: everything goes on to the edge.
func (r *relay) pass(text string) string {
	m := message{text: text}
	if m.method() == "" {
		return r.passResponse(text)
	}
	r.mu.Lock()
	r.counts[m.method()]++
	r.mu.Unlock()
	via := "Via: SIP/2.0/UDP " + r.own + ";branch=" + branchOf(m) + "r;rport\r\n"
	first, rest, _ := strings.Cut(text, "\r\n")
	rest = dropOwnRoute(rest, r.own)
	if m.method() == "INVITE" && !strings.Contains(strings.Join(m.header("To"), ""), "tag=") {
		via += "Record-Route: <sip:" + r.own + ";lr>\r\n"
	}
	return first + "\r\n" + via + rest
}

// passResponse takes off the relay's own Via.
func (r *relay) passResponse(text string) string {
	lines := strings.Split(text, "\r\n")
	for i, line := range lines {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(name), "Via") {
			if !strings.Contains(value, r.own) {
				return ""
			}
			if _, others, more := strings.Cut(value, ","); more {
				lines[i] = "Via:" + others
				return strings.Join(lines, "\r\n")
			}
			return strings.Join(append(lines[:i:i], lines[i+1:]...), "\r\n")
		}
	}
	return ""
}

// dropOwnRoute removes the Route that brought the request here.
func dropOwnRoute(head, own string) string {
	lines := strings.Split(head, "\r\n")
	for i, line := range lines {
		value, ok := strings.CutPrefix(line, "Route:")
		if !ok || !strings.Contains(value, own) {
			continue
		}
		rest := ""
		first, others, more := strings.Cut(value, ",")
		if more && strings.Contains(first, own) {
			rest = "Route:" + others
			return strings.Join(append(append(lines[:i:i], rest), lines[i+1:]...), "\r\n")
		}
		return strings.Join(append(lines[:i:i], lines[i+1:]...), "\r\n")
	}
	return head
}

func branchOf(m message) string {
	via := strings.Join(m.header("Via"), ",")
	_, after, _ := strings.Cut(via, "branch=")
	end := strings.IndexAny(after, ";, \r\n")
	if end < 0 {
		end = len(after)
	}
	return after[:end]
}

// count says how many requests with a method came.
func (r *relay) count(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[method]
}

// web is a feature server for HTTP that says who it is and what it was asked.
func (s *server) web(host int, name string) {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.addr(host)+":8080")
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s", name, r.Method, r.Host, r.URL.Path)
	})}
	go server.Serve(listener)
	s.t.Cleanup(func() { server.Close() })
}
