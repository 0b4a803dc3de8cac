package dnsd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
)

// dialQUIC connects as a client of DNS over QUIC that verifies nothing.
func dialQUIC(t *testing.T, addr netip.AddrPort, protocol string) (*quic.Conn, error) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
	defer end()
	conn, err := quic.DialAddr(ctx, addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, &quic.Config{})
	if err == nil {
		t.Cleanup(func() { conn.CloseWithError(0, "") })
	}
	return conn, err
}

// askQUIC sends octets on a stream of its own and returns what comes back.
func askQUIC(conn *quic.Conn, sent []byte) ([]byte, error) {
	stream, err := conn.OpenStreamSync(conn.Context())
	if err != nil {
		return nil, err
	}
	stream.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := stream.Write(sent); err != nil {
		return nil, err
	}
	stream.Close()
	return io.ReadAll(stream)
}

func TestQUICAnswers(t *testing.T) {
	s := secureServer(t)
	conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
	if err != nil {
		t.Fatal(err)
	}
	var queries sync.WaitGroup
	for range 200 { // more than may be under way at once
		queries.Go(func() {
			b, err := askQUIC(conn, framed(withOptions(t, "www.rfc.test.", dns.TypeA, &dns.EDNS0_PADDING{Padding: []byte{0}})))
			m := new(dns.Msg)
			if err != nil || len(b) < 2 || m.Unpack(b[2:]) != nil || len(m.Answer) != 1 || m.Id != 0 || (len(b)-2)%paddingBlock != 0 {
				t.Errorf("answer = %v in %d octets, %v", m, len(b), err)
			}
		})
	}
	queries.Wait()
	if n := readings(s)["tandem_dnsd_queries_total quic"]; n != 200 {
		t.Errorf("%v queries counted, want 200", n)
	}
	if conn, err := dialQUIC(t, s.AddrsQUIC()[0], "h3"); err == nil {
		t.Errorf("a client of another protocol was taken: %v", conn.ConnectionState().TLS.NegotiatedProtocol)
	}
}

func TestQUICProtocolErrors(t *testing.T) {
	s := secureServer(t)
	query := withOptions(t, "www.rfc.test.", dns.TypeA)
	numbered, response := bytes.Clone(query), bytes.Clone(query)
	numbered[1], response[2] = 7, 0x80
	tests := []struct {
		name  string
		sent  []byte
		fatal bool
	}{
		{"a query", framed(query), false},
		{"a message ID", framed(numbered), true},
		{"a response", framed(response), true},
		{"the option for TCP", framed(withOptions(t, "www.rfc.test.", dns.TypeA, &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE})), true},
		{"half a query", framed(query)[:20], true},
		{"nothing", nil, true},
		{"two queries", framed(query, query), true},
		{"no header", framed(query[:8]), true},
		{"a query that is too long", framed(append(bytes.Clone(query), make([]byte, quicQuery)...)), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
			if err != nil {
				t.Fatal(err)
			}
			b, err := askQUIC(conn, test.sent)
			var app *quic.ApplicationError
			fatal := errors.As(err, &app) && app.ErrorCode == doqProtocolError
			if fatal != test.fatal || !fatal && len(b) == 0 {
				t.Errorf("got %d octets and %v, want a protocol error: %v", len(b), err, test.fatal)
			}
		})
	}
}

func TestQUICTransferIsRefused(t *testing.T) {
	conn, err := dialQUIC(t, secureServer(t).AddrsQUIC()[0], "doq")
	if err != nil {
		t.Fatal(err)
	}
	b, err := askQUIC(conn, framed(withOptions(t, "rfc.test.", dns.TypeAXFR)))
	m := new(dns.Msg)
	if err != nil || m.Unpack(b[2:]) != nil || m.Rcode != dns.RcodeRefused {
		t.Errorf("AXFR = %v, %v, want REFUSED", m, err)
	}
}

// closedWith waits until a connection is closed and returns the code that its peer gave.
func closedWith(t *testing.T, conn *quic.Conn) quic.ApplicationErrorCode {
	t.Helper()
	<-conn.Context().Done()
	var app *quic.ApplicationError
	if !errors.As(context.Cause(conn.Context()), &app) {
		t.Fatalf("closed by %v", context.Cause(conn.Context()))
	}
	return app.ErrorCode
}

// TestQUICIdle: a connection without questions ends, and not by the client's fault.
func TestQUICIdle(t *testing.T) {
	s := secureServer(t, func(c *Config) { c.TCPIdle = 100 * time.Millisecond })
	conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
	if err != nil {
		t.Fatal(err)
	}
	if got := closedWith(t, conn); got != doqNoError {
		t.Errorf("an idle connection ends with code %d, want 0", got)
	}
}

// TestQUICBounds: a client has only so many connections, and what is begun on a stream and not ended
// costs the stream and not the connection.
func TestQUICBounds(t *testing.T) {
	s := secureServer(t, func(c *Config) { c.TCPPerClient, c.TCPIdle, c.TCPQuery = 2, time.Minute, time.Second })
	var open []*quic.Conn
	for range 2 {
		conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := askQUIC(conn, framed(withOptions(t, "www.rfc.test.", dns.TypeA))); err != nil { // it is in the table
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	third, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
	if err == nil {
		if got := closedWith(t, third); got != doqExcessiveLoad {
			t.Errorf("the third connection ends with code %d, want %d", got, doqExcessiveLoad)
		}
	}
	stream, err := open[0].OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	stream.Write([]byte{0})
	stream.SetReadDeadline(time.Now().Add(10 * time.Second))
	var reset *quic.StreamError
	if _, err := stream.Read(make([]byte, 1)); !errors.As(err, &reset) {
		t.Errorf("half a query: %v, want the stream reset", err)
	}
	if b, err := askQUIC(open[0], framed(withOptions(t, "www.rfc.test.", dns.TypeA))); err != nil || len(b) == 0 {
		t.Errorf("the query after it: %v", err)
	}
	if _, err := open[0].OpenUniStream(); err == nil {
		t.Error("a client may open a unidirectional stream")
	}
}

// TestQUICRetriesUnderLoad: from quicUnproven handshakes on, clients prove their address first; beyond
// quicHandshakes none begins. Handshakes that are over are not counted.
func TestQUICRetriesUnderLoad(t *testing.T) {
	s := secureServer(t)
	for _, test := range []struct {
		name    string
		shaking int32
		retry   bool
		fails   bool
	}{{"quiet", 0, false, false}, {"load", quicUnproven, true, false}, {"flood", quicHandshakes, true, true}} {
		t.Run(test.name, func(t *testing.T) {
			for s.tcp.shaking.Load() != 0 { // the last one's is over soon
				runtime.Gosched()
			}
			s.tcp.shaking.Add(test.shaking)
			if got := s.doors.quic[0].transport.VerifySourceAddress(nil); got != test.retry {
				t.Errorf("Retry: %v, want %v", got, test.retry)
			}
			conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
			if (err != nil) != test.fails {
				t.Fatalf("connect: %v, want a failure: %v", err, test.fails)
			}
			if err == nil {
				if b, err := askQUIC(conn, framed(withOptions(t, "www.rfc.test.", dns.TypeA))); err != nil || len(b) == 0 {
					t.Error(err)
				}
				conn.CloseWithError(0, "")
			}
			s.tcp.shaking.Add(-test.shaking)
		})
	}
}

// TestQUICRunLeavesNothing: with connections open.
func TestQUICRunLeavesNothing(t *testing.T) {
	free := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	certificate := signed(t, "x.test", nil)
	deps := Deps{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}
	for range 3 {
		s, err := New(Config{Listen: free, QUIC: QUIC{Listen: free}, TLS: TLS{Listen: free}}, deps, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		conn, err := dialQUIC(t, s.AddrsQUIC()[0], "doq")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := askQUIC(conn, framed(withOptions(t, "www.rfc.test.", dns.TypeA))); err != nil || len(b) == 0 {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		s.tcp.mu.Lock()
		if len(s.tcp.open)+len(s.tcp.clients) != 0 {
			t.Errorf("%d connections left", len(s.tcp.open))
		}
		s.tcp.mu.Unlock()
	}
}

// FuzzQUICQuery: what is taken is one whole query with message ID 0.
func FuzzQUICQuery(f *testing.F) {
	f.Add(framed(withOptions(f, "www.rfc.test.", dns.TypeA)))
	f.Add([]byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := readQUICQuery(bytes.NewReader(b))
		if err != nil {
			return
		}
		if !bytes.Equal(framed(in), b) || in[0]|in[1] != 0 || in[2]&flagQR != 0 {
			t.Fatalf("took %x from %x", in, b)
		}
	})
}
