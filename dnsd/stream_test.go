package dnsd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// countingConn counts writes.
type countingConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// framed returns messages, each behind its length.
func framed(messages ...[]byte) (out []byte) {
	for _, m := range messages {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(m))), m...)
	}
	return out
}

// readFrame reads one message.
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// streamOf begins to serve one end of a pipe and returns the other, and ours.
func streamOf(t *testing.T, s *Server) (net.Conn, *countingConn) {
	t.Helper()
	end, theirs := net.Pipe()
	ours := &countingConn{Conn: end}
	c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true, transport: overTCP}
	if !s.tcp.add(ours, clientPrefix(c.addr), overTCP) {
		t.Fatal("connection refused")
	}
	go func() {
		defer s.tcp.remove(ours)
		s.serveStream(t.Context(), ours, ours, c)
	}()
	return theirs, ours
}

// TestPipelinedQueriesShareAWrite: fifty queries that come together are answered with one write, and
// queries that come one by one with one each.
func TestPipelinedQueriesShareAWrite(t *testing.T) {
	for _, together := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			conn, ours := streamOf(t, loadWorld(t, "rfc"))
			defer conn.Close()
			query, want := askTCP(t), int32(50)
			var sent []byte
			for range 50 {
				sent = append(sent, query...)
			}
			if together {
				want = 6 // the buffer takes 512 octets at first
				go conn.Write(sent)
			}
			for range 50 {
				if !together {
					conn.Write(query)
				}
				if b, err := readFrame(conn); err != nil || len(b) < headerSize {
					t.Fatal(err)
				}
			}
			if n := ours.writes.Load(); together && n > want || !together && n != want {
				t.Errorf("together %v: %d writes, want %d", together, n, want)
			}
		})
	}
}

// TestTricklingQueryIsCut: an octet each second is an honest client that is slow, and cut all the same
// once a query takes too long; behind whole queries too.
func TestTricklingQueryIsCut(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration
		lives bool
	}{{"a second an octet", time.Second, false}, {"a tenth", 100 * time.Millisecond, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, _ := streamOf(t, loadWorld(t, "rfc"))
				defer conn.Close()
				query := askTCP(t)
				go conn.Write(append(bytes.Clone(query), query[0]))
				if _, err := readFrame(conn); err != nil {
					t.Fatal(err)
				}
				var sender sync.WaitGroup
				defer sender.Wait()
				defer conn.Close()
				sender.Go(func() {
					for _, b := range query[1:] {
						time.Sleep(test.pause)
						if _, err := conn.Write([]byte{b}); err != nil {
							return
						}
					}
				})
				began := time.Now()
				_, err := readFrame(conn)
				if (err == nil) != test.lives || time.Since(began) > 6*time.Second {
					t.Errorf("%v after %v, want an answer: %v", err, time.Since(began), test.lives)
				}
			})
		})
	}
}

// conversing returns a server that answers AXFR with count messages of size octets.
func conversing(t *testing.T, count, size int) *Server {
	s := loadWorld(t, "rfc")
	s.converse = func(ctx context.Context, in []byte, _ client, write func([]byte) error) (bool, error) {
		if binary.BigEndian.Uint16(in[len(in)-4:]) != dns.TypeAXFR {
			return false, nil
		}
		for i := range count {
			msg := make([]byte, size)
			msg[0] = byte(i)
			if err := write(msg); err != nil {
				return true, err
			}
		}
		return true, ctx.Err()
	}
	return s
}

// TestConversationSendsManyMessages: in order, between the answers of the queries around it; and whoever
// does not read loses the connection.
func TestConversationSendsManyMessages(t *testing.T) {
	transfer := append(bytes.Clone(askTCP(t)[2:len(askTCP(t))-4]), 0, byte(dns.TypeAXFR&0xff), 0, 1)
	plain := askTCP(t)[2:]
	synctest.Test(t, func(t *testing.T) {
		s := conversing(t, 300, 60000)
		conn, _ := streamOf(t, s)
		go conn.Write(framed(plain, transfer, plain))
		for i := range 302 {
			time.Sleep(time.Second) // slow, but it reads
			b, err := readFrame(conn)
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if middle := i > 0 && i < 301; middle != (len(b) == 60000) || middle && b[0] != byte(i-1) {
				t.Fatalf("message %d has %d octets", i, len(b))
			}
		}
		conn.Close()
		s.tcp.wait()
	})
	synctest.Test(t, func(t *testing.T) {
		s := conversing(t, 300, 60000)
		conn, _ := streamOf(t, s)
		go conn.Write(framed(transfer))
		readFrame(conn)
		began := time.Now()
		s.tcp.wait()
		if took := time.Since(began); took != s.tcp.query || s.tcp.counts.stalled.Load() != 1 {
			t.Errorf("cut after %v, %d counted, want %v and 1", took, s.tcp.counts.stalled.Load(), s.tcp.query)
		}
	})
}

// FuzzStream: however a stream is cut, its answers are those of its queries.
func FuzzStream(f *testing.F) {
	query := func() []byte {
		q := new(dns.Msg)
		q.SetQuestion("www.rfc.test.", dns.TypeA)
		b, _ := q.Pack()
		return b
	}()
	f.Add(framed(query, query), uint8(1))
	f.Add(framed(query, nil), uint8(7))
	f.Add(framed(query, make([]byte, 600)), uint8(200))
	f.Fuzz(func(t *testing.T, sent []byte, step uint8) {
		r := &streamReader{conn: &chopped{rest: sent, step: 1 + int(step)}, raw: nowhere{}, streams: newStreams(Config{TCPConnections: 9, TCPPerClient: 9})}
		r.streams.add(r.raw, noClient(), overTCP)
		var got []byte
		for r.fill() == nil {
			for in, ok := r.next(); ok; in, ok = r.next() {
				got = append(got, framed(in)...)
			}
		}
		if !bytes.HasPrefix(sent, got) {
			t.Fatalf("took %x from %x", got, sent)
		}
		if rest := sent[len(got):]; len(rest) >= 2 && len(rest)-2 >= int(binary.BigEndian.Uint16(rest)) {
			t.Fatalf("left %x, which is whole", rest)
		}
	})
}

// chopped gives at most step octets a read.
type chopped struct {
	net.Conn
	rest []byte
	step int
}

func (c *chopped) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.rest[:min(c.step, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

type nowhere struct{}

func (nowhere) Close() error                    { return nil }
func (nowhere) SetReadDeadline(time.Time) error { return nil }

// TestSilentConnectionsLeaveOthersAnswered: two thousand connections that never speak, half of which
// announce a query that never comes.
func TestSilentConnectionsLeaveOthersAnswered(t *testing.T) {
	s := loadWorld(t, "rfc")
	s.tcp.mostPerClient = 3000
	addr := serve(t, s)
	before := heapSize()
	for i := range 2000 {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			conn.Write([]byte{0xff, 0xff, 0})
		}
		if i%100 != 0 {
			continue
		}
		q := new(dns.Msg)
		q.SetQuestion("www.rfc.test.", dns.TypeA)
		for _, network := range []string{"udp", "tcp"} {
			in, _, err := (&dns.Client{Net: network}).Exchange(q, addr.String())
			if err != nil || len(in.Answer) != 1 {
				t.Fatalf("after %d silent connections, over %s: %v, %v", i, network, in, err)
			}
		}
	}
	s.tcp.mu.Lock()
	open := len(s.tcp.open)
	s.tcp.mu.Unlock()
	if open > s.tcp.most {
		t.Errorf("%d connections, want %d at most", open, s.tcp.most)
	}
	if grown := heapSize() - before; grown > 12<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
}

func heapSize() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func TestTransferOverUDPIsNoConversation(t *testing.T) {
	s := conversing(t, 3, 100)
	addr := serve(t, s)
	q := new(dns.Msg)
	q.SetAxfr("rfc.test.")
	in, err := dns.Exchange(q, addr.String())
	if err != nil || in.Rcode != dns.RcodeRefused {
		t.Errorf("AXFR over UDP = %v, %v, want REFUSED", in, err)
	}
	var late net.Error
	if _, err := readFrame(func() net.Conn {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		b, _ := q.Pack()
		c.Write(framed(b))
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		return c
	}()); errors.As(err, &late) {
		t.Errorf("over TCP: %v", err)
	}
}
