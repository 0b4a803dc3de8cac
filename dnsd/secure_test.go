package dnsd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// signed makes a certificate for name, by issuer or, when that is nil, by itself.
func signed(t testing.TB, name string, issuer *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: issuer == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	by, signer := template, any(key)
	if issuer != nil {
		by, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// writePEM writes a certificate, and its key when there is a path for it.
func writePEM(t testing.TB, c *tls.Certificate, certificate, key string) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	if err := os.WriteFile(certificate, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if key == "" {
		return
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secureServer runs a server of the world rfc with TLS, QUIC and proxy listeners, changed by with.
func secureServer(t *testing.T, with ...func(*Config)) *Server {
	t.Helper()
	free := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg := Config{
		Listen: free, TLS: TLS{Listen: free}, QUIC: QUIC{Listen: free}, Host: "ns1.rfc.test",
		Proxy: Proxy{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Listen: free, TLS: free},
	}
	for _, f := range with {
		f(&cfg)
	}
	certificate := signed(t, "ns1.rfc.test", nil)
	s, err := New(cfg, Deps{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range readObjects(t, "rfc") {
		s.change(tandem.Revision(i+1), o.Kind(), o.Header().ID, o)
	}
	serve(t, s)
	return s
}

// dialTLS connects as a client of DNS over TLS that verifies nothing.
func dialTLS(t *testing.T, addr netip.AddrPort, with ...func(*tls.Config)) (*tls.Conn, error) {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}}
	for _, f := range with {
		f(cfg)
	}
	conn, err := tls.Dial("tcp", addr.String(), cfg)
	if err == nil {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// askOver asks for the address of www.rfc.test and checks the answer.
func askOver(t *testing.T, conn net.Conn) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("www.rfc.test.", dns.TypeA)
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	if in, err := c.ReadMsg(); err != nil || len(in.Answer) != 1 {
		t.Fatalf("answer = %v, %v", in, err)
	}
}

func TestTLSHandshakes(t *testing.T) {
	addr := secureServer(t).AddrsTLS()[0]
	tests := []struct {
		name  string
		with  func(*tls.Config)
		fails bool
	}{
		{"TLS 1.3", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, false},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, true},
		{"no ALPN", func(c *tls.Config) { c.NextProtos = nil }, false},
		{"another protocol", func(c *tls.Config) { c.NextProtos = []string{"h2"} }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := dialTLS(t, addr, test.with)
			if (err != nil) != test.fails {
				t.Fatalf("handshake: %v, want a failure: %v", err, test.fails)
			}
			if err == nil {
				askOver(t, conn)
				askOver(t, conn)
			}
		})
	}
}

func TestTLSResumes(t *testing.T) {
	addr := secureServer(t).AddrsTLS()[0]
	cache := tls.NewLRUClientSessionCache(4)
	for i := range 3 {
		conn, err := dialTLS(t, addr, func(c *tls.Config) { c.ClientSessionCache, c.ServerName = cache, "ns1.rfc.test" })
		if err != nil {
			t.Fatal(err)
		}
		askOver(t, conn) // the ticket comes with it
		if resumed := conn.ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("connection %d resumed: %v", i, resumed)
		}
		conn.Close()
	}
}

// TestClientCertificateNames: who shows a certificate that is vouched for is known by its names; who
// shows none asks all the same; who shows another's is refused.
func TestClientCertificateNames(t *testing.T) {
	partners := signed(t, "partners", nil)
	file := filepath.Join(t.TempDir(), "clients.pem")
	writePEM(t, partners, file, "")
	s := secureServer(t, func(c *Config) { c.TLS.Clients = file })
	seen := make(chan []string, 1)
	s.converse = func(_ context.Context, _ []byte, c client, _ func([]byte) error) (bool, error) {
		seen <- c.names
		return false, nil
	}
	for _, test := range []struct {
		name string
		show *tls.Certificate
		want []string
	}{{"none", nil, nil}, {"a partner", signed(t, "secondary.partner.test", partners), []string{"secondary.partner.test"}}} {
		t.Run(test.name, func(t *testing.T) {
			cache := tls.NewLRUClientSessionCache(1)
			for range 2 { // resumed the second time
				conn, err := dialTLS(t, s.AddrsTLS()[0], func(c *tls.Config) {
					c.ClientSessionCache, c.ServerName = cache, "x"
					if test.show != nil {
						c.Certificates = []tls.Certificate{*test.show}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				askOver(t, conn)
				if names := <-seen; !slices.Equal(names, test.want) {
					t.Errorf("names = %v, want %v", names, test.want)
				}
				conn.Close()
			}
		})
	}
	stranger := signed(t, "secondary.partner.test", signed(t, "others", nil))
	conn, err := dialTLS(t, s.AddrsTLS()[0], func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return stranger, nil }
	})
	if err == nil {
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("a stranger's certificate was taken")
		}
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writePEM(t, signed(t, "files.test", nil), certificate, key)
	s := secureServer(t, func(c *Config) { c.TLS.Certificate, c.TLS.Key = certificate, key })
	conn, err := dialTLS(t, s.AddrsTLS()[0])
	if err != nil {
		t.Fatal(err)
	}
	if name := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "files.test" {
		t.Errorf("certificate for %s, want files.test", name)
	}
	free := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	for name, cfg := range map[string]TLS{
		"no file": {Listen: free, Certificate: key + "x", Key: key}, "no certificate": {Listen: free},
		"clients without certificates": {Listen: free, Certificate: certificate, Key: key, Clients: key},
	} {
		s, err := New(Config{Listen: free, TLS: cfg}, Deps{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(); err == nil {
			s.close()
			t.Errorf("%s: Listen = nil, want an error", name)
		}
	}
}

// TestSilentHandshakeIsCut: whoever connects to the TLS port and says nothing, or half of it, is
// gone after the time of a query.
func TestSilentHandshakeIsCut(t *testing.T) {
	for _, hello := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		synctest.Test(t, func(t *testing.T) {
			s := loadWorld(t, "rfc")
			ours, theirs := net.Pipe()
			c := client{addr: netip.MustParseAddr("127.0.0.1"), stream: true, transport: overTLS}
			s.tcp.add(ours, clientPrefix(c.addr), overTLS)
			go s.enter(t.Context(), ours, door{secure: &tls.Config{}}, c)
			began := time.Now()
			theirs.Write([]byte(hello))
			s.tcp.wait()
			if took := time.Since(began); took != s.tcp.query || s.tcp.counts.handshakes[overTLS].Load() != 1 {
				t.Errorf("cut after %v, want %v", took, s.tcp.query)
			}
		})
	}
}
