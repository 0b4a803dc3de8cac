package tests

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"tandem/internal/lab"
)

// backToBack runs a feature server of the lab at a host of the block: a back-to-back user agent
// that makes each call it takes a second one, back to the edge, to the same user.
func (s *server) backToBack(host int) *lab.Node {
	s.t.Helper()
	node, err := lab.NewNode(lab.NodeConfig{
		ID:  fmt.Sprintf("node%d", host),
		SIP: netip.MustParseAddrPort(s.addr(host) + ":5060"),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := node.Listen(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the feature server at .%d ended with %v", host, err)
		}
	})
	return node
}

// count says how many requests of a method a node has seen.
func count(node *lab.Node, method string) int {
	n := 0
	for _, seen := range node.Seen() {
		if seen.Method == method {
			n++
		}
	}
	return n
}

// relay is a feature server that sends each request back to the edge unchanged but for its own Via
// and Record-Route, as a proxy does.
type relay struct {
	t      testing.TB
	conn   *net.UDPConn
	own    string
	edge   *net.UDPAddr
	mu     sync.Mutex
	counts map[string]int
}

// relay starts a relay at a host of the block.
func (s *server) relay(host int) *relay {
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
