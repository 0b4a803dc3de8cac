package dnstap

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields decodes one message of protocol buffers with somebody else's decoder: octets by number, numbers as
// varints in octets. It fails on what is no such message.
func fields(t testing.TB, b []byte) map[protowire.Number][]byte {
	t.Helper()
	all := map[protowire.Number][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatalf("tag: %v", protowire.ParseError(n))
		}
		b = b[n:]
		if _, twice := all[number]; twice {
			t.Fatalf("field %d stands twice", number)
		}
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			t.Fatalf("field %d: %v", number, protowire.ParseError(n))
		}
		all[number] = b[:n]
		if kind == protowire.BytesType {
			all[number], _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
	}
	return all
}

func number(t testing.TB, b []byte) uint64 {
	t.Helper()
	v, n := protowire.ConsumeVarint(b)
	if n != len(b) || n <= 0 {
		t.Fatalf("%x is no number", b)
	}
	return v
}

// frames cuts a stream without control frames.
func frames(t testing.TB, b []byte) (all [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint32(b))
		if n == 0 || 4+n > len(b) {
			t.Fatalf("a frame of %d octets in %d", n, len(b))
		}
		all = append(all, b[4:4+n])
		b = b[4+n:]
	}
	return all
}

// FuzzAppend has protowire read what Append wrote: every field that was given is there, with its value;
// twin: none that was not.
func FuzzAppend(f *testing.F) {
	f.Add("ns1", "tandem", []byte{127, 0, 0, 1}, uint16(4711), int64(1_700_000_000_123_456_789), []byte("query"), []byte("answer"))
	f.Add("", "", []byte(net.IPv6loopback), uint16(0), int64(1), []byte{}, bytes.Repeat([]byte{1}, 70_000))
	f.Add("x", "", []byte{}, uint16(53), int64(0), []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, identity, version string, address []byte, port uint16, nanos int64, query, answer []byte) {
		m := Message{Type: AuthResponse, Protocol: DOQ, Query: query, Answer: answer}
		if addr, ok := netip.AddrFromSlice(address); ok {
			m.Client = netip.AddrPortFrom(addr, port)
		}
		if nanos > 0 {
			m.Asked = time.Unix(0, nanos)
		}
		b := Append([]byte("before"), &Who{identity, version}, &m)
		list := frames(t, b[len("before"):])
		if len(list) != 1 {
			t.Fatalf("%d frames", len(list))
		}
		outer := fields(t, list[0])
		if string(outer[1]) != identity || string(outer[2]) != version || number(t, outer[15]) != 1 {
			t.Errorf("outer = %q", outer)
		}
		inner := fields(t, outer[14])
		if number(t, inner[1]) != 2 || number(t, inner[3]) != 7 {
			t.Errorf("type %x, protocol %x", inner[1], inner[3])
		}
		if !bytes.Equal(inner[10], query) || !bytes.Equal(inner[14], answer) || (inner[14] == nil) != (answer == nil) {
			t.Errorf("messages of %d and %d octets, want %d and %d", len(inner[10]), len(inner[14]), len(query), len(answer))
		}
		wantEnd(t, inner, m.Client, port)
		if _, ok := inner[8]; ok != (nanos > 0) {
			t.Errorf("query time there: %v", ok)
		} else if ok {
			fixed, _ := protowire.ConsumeFixed32(inner[9])
			if got := time.Unix(int64(number(t, inner[8])), int64(fixed)); !got.Equal(m.Asked) {
				t.Errorf("asked at %v, want %v", got, m.Asked)
			}
		}
		if inner[12] != nil || inner[5] != nil || inner[7] != nil {
			t.Errorf("fields that were not given: %v", inner)
		}
	})
}

func wantEnd(t *testing.T, inner map[protowire.Number][]byte, client netip.AddrPort, port uint16) {
	t.Helper()
	if !client.IsValid() {
		if inner[2] != nil || inner[4] != nil || inner[6] != nil {
			t.Errorf("a client that was not given: %v", inner)
		}
		return
	}
	family := uint64(1)
	if client.Addr().Is6() {
		family = 2
	}
	if got, _ := netip.AddrFromSlice(inner[4]); got != client.Addr().WithZone("") || number(t, inner[6]) != uint64(port) || number(t, inner[2]) != family {
		t.Errorf("client %v port %x family %x, want %v", got, inner[6], inner[2], client)
	}
}

func TestAppendAllocates(t *testing.T) {
	buf, who := make([]byte, 0, 4096), Who{"ns1", "tandem"}
	m := Message{Type: AuthQuery, Protocol: UDP, Client: netip.MustParseAddrPort("192.0.2.1:53"), Server: netip.MustParseAddrPort("[2001:db8::1]:53"), Asked: time.Unix(1, 1), Query: make([]byte, 40)}
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], &who, &m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// collector is the reading end of a connection.
type collector struct {
	t    *testing.T
	conn net.Conn
}

// accept takes a connection through the handshake.
func accept(t *testing.T, l net.Listener) collector {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := collector{t, conn}
	c.want(controlReady)
	conn.Write(appendControl(nil, controlAccept))
	c.want(controlStart)
	return c
}

func (c collector) want(k control) {
	c.t.Helper()
	want := appendControl(nil, k)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("control frame %x, %v; want %x", got, err, want)
	}
}

// frame reads one data frame and returns its query.
func (c collector) frame() string {
	c.t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatal(err)
	}
	return string(fields(c.t, fields(c.t, b)[14])[10])
}

// TestSinkComesBack: messages arrive; when the collector goes away and comes back, those after it arrive, too;
// at the end the stream is finished in order.
func TestSinkComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tap")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := New(Target{Socket: path}, Who{}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	s.Put(nil, &Message{Type: AuthQuery, Query: []byte("one")})
	first := accept(t, l)
	if got := first.frame(); got != "one" {
		t.Errorf("first query %q", got)
	}
	first.conn.Close()
	second := accept(t, l)
	s.Put(nil, &Message{Type: AuthQuery, Query: []byte("two")})
	if got := second.frame(); got != "two" {
		t.Errorf("second query %q", got)
	}
	s.Put(nil, &Message{Type: AuthQuery, Query: []byte("three")})
	stop()
	if got := second.frame(); got != "three" {
		t.Errorf("third query %q", got)
	}
	second.want(controlStop)
	second.conn.Write(appendControl(nil, controlFinish))
	<-done
	if sent, lost, connected := s.Counts(); sent != 3 || lost != 0 || connected != 2 {
		t.Errorf("sent %d, lost %d, connected %d", sent, lost, connected)
	}
}

// TestSinkIsBounded: without a collector what waits has a bound, what is beyond it is counted, and nobody
// waits; attempts to connect become rare.
func TestSinkIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	synctest.Test(t, func(t *testing.T) {
		s := New(Target{Socket: path}, Who{}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		query := make([]byte, 1000)
		var buf []byte
		for range 3000 {
			buf = s.Put(buf, &Message{Type: AuthQuery, Query: query})
		}
		_, lost, _ := s.Counts()
		if fit := 3000 - lost; lost == 0 || fit*1000 > mostWaiting {
			t.Errorf("%d of 3000 wait", fit)
		}
		time.Sleep(time.Minute)
		stop()
		<-done
		if sent, lost, connected := s.Counts(); sent != 0 || lost != 3000 || connected != 0 {
			t.Errorf("sent %d, lost %d, connected %d", sent, lost, connected)
		}
	})
}

// TestSinkRefusesStrangers: somebody who speaks something else, or takes something else, is no collector.
func TestSinkRefusesStrangers(t *testing.T) {
	other := bytes.Replace(appendControl(nil, controlAccept), []byte("dnstap.Dnstap"), []byte("dnstap.Dnstop"), 1)
	for _, c := range []struct {
		name   string
		answer []byte
		ok     bool
	}{
		{"accept", appendControl(nil, controlAccept), true},
		{"accept of anything", []byte{0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1}, true},
		{"another content", other, false},
		{"another frame", appendControl(nil, controlStart), false},
		{"too long", []byte{0, 0, 0, 0, 0xff, 0, 0, 4, 0, 0, 0, 1}, false},
		{"a field without its end", []byte{0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9}, false},
		{"another protocol", []byte("HTTP/1.1 400 Bad Request\r\n"), false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := readControl(bytes.NewReader(c.answer), controlAccept); (err == nil) != c.ok {
				t.Errorf("readControl = %v", err)
			}
		})
	}
}

// TestSinkWritesFile: a file holds START, the frames and STOP; twin: one that cannot be opened is an error.
func TestSinkWritesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.tap")
	s := New(Target{File: path, FileSize: 1 << 20}, Who{}, slog.New(slog.DiscardHandler))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var want []byte
	for _, query := range []string{"one", "two"} {
		m := Message{Type: AuthQuery, Query: []byte(query)}
		s.Put(nil, &m)
		want = Append(want, &Who{}, &m)
	}
	stop()
	s.Run(ctx)
	got, err := os.ReadFile(path)
	want = append(append(appendControl(nil, controlStart), want...), appendControl(nil, controlStop)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("file holds %x, %v; want %x", got, err, want)
	}
	if err := New(Target{File: filepath.Join(path, "x")}, Who{}, slog.New(slog.DiscardHandler)).Open(); err == nil {
		t.Error("a file below a file was opened")
	}
}
