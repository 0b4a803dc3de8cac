package dnsd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"tandem/internal/tandem"
)

// TLS is where DNS over TLS is answered (RFC 7858), and with which certificate; QUIC uses the same.
type TLS struct {
	// Listen are the addresses served; none: no DNS over TLS. Port 0 takes a free one.
	Listen []netip.AddrPort `yaml:"listen"`
	// Certificate and Key are files, both PEM, a chain and its key; "": Deps.GetCertificate chooses.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// Clients is a PEM file of the authorities whose client certificates are believed, for transfers
	// with mutual TLS (RFC 9103); "": no client is asked for one. Nobody needs one to ask a question.
	Clients string `yaml:"clients"`
}

// Files returns the paths in t, for whoever makes relative ones absolute.
func (t *TLS) Files() []*string { return []*string{&t.Certificate, &t.Key, &t.Clients} }

// faults reports what is wrong with t.
func (t TLS) faults() tandem.FieldErrors {
	errs := addressFaults("tls.listen", t.Listen)
	if (t.Certificate == "") != (t.Key == "") {
		errs = append(errs, tandem.FieldError{Field: "tls", Reason: "needs both certificate and key, or neither"})
	}
	return errs
}

// Encrypts reports whether there is a listener that needs a certificate of Deps.
func (c Config) Encrypts() bool {
	return c.TLS.Certificate == "" && len(c.TLS.Listen)+len(c.QUIC.Listen)+len(c.Proxy.TLS) > 0
}

// secureConfig returns what TLS and QUIC listeners present, for one protocol (RFC 7301). Sessions are
// resumed by tickets, whose keys the library rolls; early data is not taken, for it can be replayed.
func (c Config) secureConfig(deps Deps, protocol string) (*tls.Config, error) {
	secure := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{protocol}, GetCertificate: deps.GetCertificate,
	}
	if c.TLS.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: certificate %s with key %s: %w", c.TLS.Certificate, c.TLS.Key, err)
		}
		secure.Certificates, secure.GetCertificate = []tls.Certificate{pair}, nil
	} else if secure.GetCertificate == nil {
		return nil, errors.New("tls: there is no certificate")
	}
	if c.TLS.Clients != "" {
		text, err := os.ReadFile(c.TLS.Clients)
		if err != nil {
			return nil, fmt.Errorf("tls: clients: %w", err)
		}
		secure.ClientCAs, secure.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !secure.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls: clients: %s holds no certificate", c.TLS.Clients)
		}
	}
	return secure, nil
}

// secure makes a TLS connection of raw, within the time that a query may take, and returns it with the
// names that its client proved.
func (s *Server) secure(ctx context.Context, raw net.Conn, cfg *tls.Config) (*tls.Conn, []string, error) {
	if err := s.tcp.hasten(raw); err != nil {
		return nil, nil, err
	}
	raw.SetWriteDeadline(time.Now().Add(s.tcp.query))
	conn := tls.Server(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	return conn, provenNames(conn.ConnectionState()), nil
}

// provenNames returns the DNS names of a client's certificate that was verified.
func provenNames(state tls.ConnectionState) []string {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.PeerCertificates[0].DNSNames
}
