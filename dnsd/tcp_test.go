package dnsd

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// pipe begins to serve one end of a pipe and returns the other.
func pipe(t *testing.T, s *Server) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	addr := netip.MustParseAddr("127.0.0.1")
	if !s.tcp.add(ours, clientPrefix(addr), overTCP) {
		t.Fatal("connection refused")
	}
	go func() {
		defer s.tcp.remove(ours)
		s.serveStream(t.Context(), ours, ours, client{addr: addr, stream: true, transport: overTCP})
	}()
	return theirs
}

func askTCP(t *testing.T) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("www.rfc.test.", dns.TypeA)
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func TestStreamDeadlines(t *testing.T) {
	tests := []struct {
		name string
		send int // octets of a query, then silence
		want time.Duration
	}{
		{"says nothing", 0, 10 * time.Second},
		{"half a length", 1, 5 * time.Second},
		{"half a query", 9, 5 * time.Second},
		{"asks and does not read", 1000, 5 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := loadWorld(t, "rfc")
				conn := pipe(t, s)
				began := time.Now()
				query := askTCP(t)
				conn.Write(query[:min(test.send, len(query))])
				s.tcp.wait()
				if took := time.Since(began); took != test.want {
					t.Errorf("closed after %v, want %v", took, test.want)
				}
				if n := len(s.tcp.open) + len(s.tcp.clients); n != 0 {
					t.Errorf("%d entries left of a closed connection", n)
				}
			})
		})
	}
}

func TestStreamStaysWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := loadWorld(t, "rfc")
		conn := pipe(t, s)
		for range 5 {
			time.Sleep(9 * time.Second)
			conn.Write(askTCP(t))
			size := make([]byte, 2)
			if _, err := io.ReadFull(conn, size); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint16(size))); err != nil {
				t.Fatal(err)
			}
		}
		s.tcp.close() // as Run does at its end
		s.tcp.wait()
		if s.tcp.add(conn, netip.Prefix{}, overTCP) {
			t.Error("a connection was taken after the end")
		}
	})
}
