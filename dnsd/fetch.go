package dnsd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/tsig"
	"tandem/internal/tandem"
)

// One exchange with a primary: over TCP, or over TLS (RFC 9103).

const (
	fetchDial    = 5 * time.Second
	fetchMessage = 15 * time.Second // until the next message of an answer is there
)

// errCurrent is a primary that has nothing newer.
var errCurrent = errors.New("nothing newer")

// primaryConn is a connection to a primary.
type primaryConn struct {
	net.Conn
	s   *Server
	p   tandem.Primary
	key *signer
	buf []byte
}

// dialPrimary connects to p, from the address that DNS is served at.
func (s *Server) dialPrimary(ctx context.Context, p tandem.Primary) (*primaryConn, error) {
	port := uint16(53)
	if p.TLS {
		port = 853
	}
	at, ok := serverAddress(p.Address, port)
	if !ok {
		return nil, fmt.Errorf("%q is no address", p.Address)
	}
	c := &primaryConn{s: s, p: p}
	if p.Key != "" {
		if c.key = s.model.signerOf(p.Key); c.key == nil {
			return nil, fmt.Errorf("key %s: %w", p.Key, errNoKey)
		}
	}
	dialer := net.Dialer{Timeout: fetchDial, LocalAddr: net.TCPAddrFromAddrPort(s.source(at.Addr().Is4()))}
	conn, err := dialer.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	if c.Conn = conn; p.TLS {
		if c.Conn, err = encrypt(ctx, conn, p, at.Addr()); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return c, nil
}

// encrypt speaks TLS 1.3 with ALPN dot (RFC 9103 section 7): strict when p says what certificate it must be,
// else opportunistic.
func encrypt(ctx context.Context, conn net.Conn, p tandem.Primary, _ netip.Addr) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"dot"}, ServerName: p.Name}
	if p.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(p.CA)) {
			return nil, errors.New("ca holds no certificate")
		}
	}
	if p.Name == "" {
		cfg.InsecureSkipVerify = true // whoever answers at that address; a CA is checked below
		if p.CA != "" {
			cfg.VerifyConnection = func(state tls.ConnectionState) error {
				opts := x509.VerifyOptions{Roots: cfg.RootCAs, Intermediates: x509.NewCertPool()}
				for _, c := range state.PeerCertificates[1:] {
					opts.Intermediates.AddCert(c)
				}
				_, err := state.PeerCertificates[0].Verify(opts)
				return err
			}
		}
	}
	secure := tls.Client(conn, cfg)
	ctx, cancel := context.WithTimeout(ctx, fetchDial)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol != "dot" {
		return nil, errors.New("the server does not speak DNS over TLS (ALPN dot)")
	}
	return secure, nil
}

// ask sends m, and gives each message of the answer to take until that is done.
func (c *primaryConn) ask(m *dns.Msg, take func(*dns.Msg) (done bool, err error)) error {
	m.Id, m.RecursionDesired = uint16(rand.Uint32()), false
	query, err := m.Pack()
	if err != nil {
		return err
	}
	var check *tsig.Stream
	if c.key != nil {
		var mac []byte
		query, mac = c.key.Append(query, nil, c.s.deps.Now(), tsig.NoError, 0)
		check = c.key.NewStream(mac, c.s.deps.Now)
	}
	c.SetDeadline(time.Now().Add(fetchMessage))
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return err
	}
	for octets := 0; ; {
		msg, err := c.read()
		if err != nil {
			return err
		}
		if octets += len(msg); octets > mostContent {
			return fmt.Errorf("%w: more than %d octets", errContent, mostContent)
		}
		if check != nil {
			if err := check.Check(msg); err != nil {
				return err
			}
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(msg); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if reply.Id != m.Id || !reply.Response {
			return errors.New("an answer to something else")
		}
		if reply.Rcode != dns.RcodeSuccess {
			return rcodeError(reply.Rcode)
		}
		done, err := take(reply)
		if err != nil || done && (check == nil || check.Done()) {
			return err
		}
		if done {
			return fmt.Errorf("%w: the last message is not signed", tsig.ErrBad)
		}
	}
}

// rcodeError is a primary's refusal.
type rcodeError int

func (e rcodeError) Error() string { return "answered " + dns.RcodeToString[int(e)] }

func (c *primaryConn) read() ([]byte, error) {
	var size [2]byte
	c.SetDeadline(time.Now().Add(fetchMessage))
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if cap(c.buf) < n {
		c.buf = make([]byte, n, streamSize)
	}
	_, err := io.ReadFull(c, c.buf[:n])
	return c.buf[:n], err
}

// serial asks for the zone's SOA.
func (c *primaryConn) serial(name string) (uint32, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeSOA)
	var serial uint32
	err := c.ask(m, func(reply *dns.Msg) (bool, error) {
		if len(reply.Answer) == 1 && reply.Authoritative {
			if soa, ok := reply.Answer[0].(*dns.SOA); ok {
				serial = soa.Serial
				return true, nil
			}
		}
		return true, errors.New("no authoritative SOA in the answer")
	})
	return serial, err
}

// intake takes the records of a transfer apart as they come.
type intake struct {
	name    string
	asked   *dns.SOA // what an IXFR began from; nil for an AXFR
	first   *dns.SOA
	records []dns.RR // of the whole zone
	changes []change // of a difference
	adding  bool
	last    uint32 // serial that the last change leads to
	count   int
}

// take takes one message (RFC 5936 section 2.2, RFC 1995 section 4).
func (in *intake) take(m *dns.Msg) (bool, error) {
	for i, rr := range m.Answer {
		done, err := in.record(rr)
		if err != nil {
			return false, err
		}
		if done {
			if i != len(m.Answer)-1 {
				return false, errors.New("records after the end")
			}
			return true, nil
		}
	}
	if in.count == 0 {
		return false, errors.New("an empty answer")
	}
	if in.count == 1 && in.asked != nil && later(in.asked.Serial, in.first.Serial) == in.asked.Serial {
		return false, errCurrent
	}
	return false, nil
}

// record takes one record and reports whether it was the last.
func (in *intake) record(rr dns.RR) (bool, error) {
	soa, isSOA := rr.(*dns.SOA)
	in.count++
	switch {
	case in.count == 1:
		if !isSOA {
			return false, errors.New("the answer does not begin with a SOA")
		}
		in.first = soa
		in.records = append(in.records, rr)
	case in.count == 2 && isSOA && in.asked != nil && soa.Serial != in.first.Serial:
		if soa.Serial != in.asked.Serial {
			return false, fmt.Errorf("%w: the first difference begins at another serial", errContent)
		}
		in.records = nil
		in.changes = []change{{removed: []dns.RR{rr}}}
	case in.changes == nil && isSOA && soa.Serial != in.first.Serial:
		return false, fmt.Errorf("%w: it ends with another SOA", errContent)
	case in.changes == nil && isSOA:
		return true, nil
	case in.changes == nil:
		in.records = append(in.records, rr)
	case isSOA && in.adding && in.last == in.first.Serial && soa.Serial == in.first.Serial:
		return true, nil
	case isSOA && in.adding:
		if soa.Serial != in.last {
			return false, fmt.Errorf("%w: differences with a gap", errContent)
		}
		in.adding = false
		in.changes = append(in.changes, change{removed: []dns.RR{rr}})
	case isSOA:
		in.adding, in.last = true, soa.Serial
		in.changes[len(in.changes)-1].added = []dns.RR{rr}
	case in.adding:
		c := &in.changes[len(in.changes)-1]
		c.added = append(c.added, rr)
	default:
		c := &in.changes[len(in.changes)-1]
		c.removed = append(c.removed, rr)
	}
	return false, nil
}

// fetch returns the zone's version at the primary: have itself with errCurrent when that is it. Changes are
// what was added to have, nil when the zone came whole.
func (c *primaryConn) fetch(z *zone, have *content) (*content, []change, error) {
	m := new(dns.Msg)
	in := &intake{name: z.name}
	if have == nil {
		m.SetAxfr(z.name)
	} else {
		m.SetIxfr(z.name, have.soa.Serial, have.soa.Ns, have.soa.Mbox)
		in.asked = have.soa
	}
	if err := c.ask(m, in.take); err != nil {
		return have, nil, err
	}
	if in.changes == nil {
		next, err := newContent(z.apex, in.records)
		return next, nil, err
	}
	next, err := have.patched(z.apex, in.changes)
	return next, in.changes, err
}
