package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// TLS names certificates that the operator brings. Names that none of them covers get one from the
// appliance's own authority, made in the data directory at the first start.
type TLS struct {
	Certificates []CertificateFile `yaml:"certificates"`
	// Authority is a file that the own authority's certificate is copied to, for those who are to
	// trust it; "": none. The authority itself stays in the data directory.
	Authority string `yaml:"authority"`
}

// CertificateFile is a certificate chain and its key, both PEM.
type CertificateFile struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Validate reports files that are not named.
func (t TLS) Validate() error {
	for i, c := range t.Certificates {
		if c.Certificate == "" || c.Key == "" {
			return tandem.FieldError{Field: fmt.Sprintf("certificates[%d]", i), Reason: "needs both certificate and key"}
		}
	}
	return nil
}

// Lives of what the authority makes, and how many leafs it keeps at hand.
const (
	caLife    = 10 * 365 * 24 * time.Hour
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 60 * 24 * time.Hour // age at which a new one is made
	leafCache = 4096
	clockSlip = time.Hour // certificates begin that much earlier

	mostCommonName = 64 // octets (RFC 5280 appendix A.1)
)

// authority chooses the certificate for a TLS client: a given one that fits, else one of its own,
// made when a name is first asked for.
type authority struct {
	given    []tls.Certificate
	ca       *x509.Certificate
	key      *ecdsa.PrivateKey
	fallback string                 // for clients that send no name; "": they get none
	allow    func(name string) bool // names that certificates are made for
	now      func() time.Time

	mu    sync.Mutex
	leafs map[string]*tls.Certificate
}

// openAuthority loads the files given and the authority kept in dir, which is made if dir holds none.
func openAuthority(dir string, cfg TLS) (*authority, error) {
	a := &authority{now: time.Now, allow: func(string) bool { return false }, leafs: make(map[string]*tls.Certificate)}
	for _, f := range cfg.Certificates {
		pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: certificate %s with key %s: %w", f.Certificate, f.Key, err)
		}
		a.given = append(a.given, pair)
	}
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		if err := makeAuthority(dir, certFile, keyFile, a.now()); err != nil {
			return nil, fmt.Errorf("tls: make own authority: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("tls: own authority in %s: %w; restore the missing file, or remove both to have a new one made", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("tls: own authority in %s: is not an authority with an ECDSA key", dir)
	}
	if a.now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("tls: own authority in %s: has expired; remove ca.crt and ca.key to have a new one made", dir)
	}
	a.ca, a.key = pair.Leaf, key
	if cfg.Authority != "" {
		if err := publish(cfg.Authority, a.ca); err != nil {
			return nil, fmt.Errorf("tls: authority: %w", err)
		}
	}
	return a, nil
}

// publish copies a certificate to a file that everybody may read.
func publish(path string, cert *x509.Certificate) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writePEM(path, "CERTIFICATE", cert.Raw, 0o644)
}

// makeAuthority writes a new authority. The key is complete before the certificate appears.
func makeAuthority(dir, certFile, keyFile string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: fmt.Sprintf("Tandem appliance %x", serial.Bytes()[:4])},
		NotBefore:    now.Add(-clockSlip), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der, 0o644)
}

// writePEM writes a file that is there whole or not at all, also after a power cut.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// GetCertificate implements the choice that tls.Config asks for.
func (a *authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i := range a.given {
		if hello.SupportsCertificate(&a.given[i]) == nil {
			return &a.given[i], nil
		}
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" {
		name = a.fallback
	} else if name != a.fallback && !a.allow(name) {
		return nil, fmt.Errorf("no certificate is made for the name %q", name)
	}
	if name == "" {
		return nil, errors.New("the client names no server")
	}
	return a.leaf(name)
}

// leaf returns a certificate for names, from the cache while it is young enough.
func (a *authority) leaf(names ...string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, name := a.now(), strings.Join(names, " ")
	if c := a.leafs[name]; c != nil && now.Before(c.Leaf.NotBefore.Add(leafRenew)) {
		return c, nil
	}
	c, err := a.sign(names, now)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", name, err)
	}
	for old := range a.leafs {
		if len(a.leafs) < leafCache {
			break
		}
		delete(a.leafs, old) // any: it is made again when asked for
	}
	a.leafs[name] = c
	return c, nil
}

// sign makes a certificate for names and addresses.
func (a *authority) sign(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{Organization: []string{"Tandem appliance"}}, // clients such as kdig refuse a subject that is empty
		NotBefore:    now.Add(-clockSlip), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(names[0]) <= mostCommonName {
		template.Subject.CommonName = names[0] // kdig gives up on a certificate without a subject
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.ca.Raw}, PrivateKey: key, Leaf: parsed}, nil
}

// roots returns the system's roots and the authority itself, for connections between our own.
func (a *authority) roots() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without roots
	}
	pool.AddCert(a.ca)
	return pool
}

// newSerial returns 127 random bits, positive and not zero (RFC 5280 section 4.1.2.2).
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}
