package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// handshake performs a TLS handshake with a client that asks for name and trusts roots, and
// returns the certificate that it was shown.
func handshake(t *testing.T, a *authority, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	client, server := pipe(t)
	go func() { _ = tls.Server(server, &tls.Config{GetCertificate: a.GetCertificate}).Handshake() }()
	conn := tls.Client(client, &tls.Config{ServerName: name, RootCAs: roots})
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

func newAuthority(t *testing.T, names ...string) *authority {
	t.Helper()
	a, err := openAuthority(filepath.Join(t.TempDir(), "tls"), TLS{})
	if err != nil {
		t.Fatal(err)
	}
	a.allow = func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	}
	return a
}

func TestCertificateByName(t *testing.T) {
	a := newAuthority(t, "alpha.v.test")
	a.fallback = "127.0.0.1"
	tests := []struct {
		name string
		want string // part of the error; "": none
	}{
		{"alpha.v.test", ""},
		{"ALPHA.v.test", ""},
		{"127.0.0.1", ""}, // sent without SNI, verified by address
		{"beta.v.test", "internal error"},
		{"v.test", "internal error"},
	}
	for _, tt := range tests {
		cert, err := handshake(t, a, tt.name, a.roots())
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v, want a certificate that verifies", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, %v, want %q", tt.name, cert, err, tt.want)
		}
	}
	if _, err := handshake(t, a, "alpha.v.test", x509.NewCertPool()); err == nil {
		t.Error("a client that trusts nobody accepted the certificate")
	}
	a.fallback = ""
	if _, err := handshake(t, a, "127.0.0.1", a.roots()); err == nil {
		t.Error("a client that names no server got a certificate, want none")
	}
}

func TestAuthorityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	public := filepath.Join(t.TempDir(), "run", "ca.pem")
	first, err := openAuthority(dir, TLS{Authority: public})
	if err != nil {
		t.Fatal(err)
	}
	second, err := openAuthority(dir, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	if !first.ca.Equal(second.ca) {
		t.Error("the second start made another authority")
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v, want mode 0600", info, err)
	}
	text, err := os.ReadFile(public)
	if pool := x509.NewCertPool(); err != nil || !pool.AppendCertsFromPEM(text) {
		t.Errorf("the copy for others: %v, want the certificate", err)
	}
	if days := time.Until(first.ca.NotAfter).Hours() / 24; days < 3649 || days > 3651 {
		t.Errorf("the authority lasts %.0f days, want ten years", days)
	}
	for _, name := range []string{"ca.crt", "ca.key"} {
		broken := filepath.Join(t.TempDir(), "tls")
		if _, err := openAuthority(broken, TLS{}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(broken, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := openAuthority(broken, TLS{}); err == nil || !strings.Contains(err.Error(), broken) {
			t.Errorf("without %s: %v, want an error that names the folder, and no new authority", name, err)
		}
	}
}

func TestLeafsAreKeptAndRenewed(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	leaf := func(name string) *x509.Certificate {
		c, err := a.leaf(name)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := leaf("alpha.v.test")
	if life := first.NotAfter.Sub(now); life < leafLife-time.Minute || life > leafLife {
		t.Errorf("a leaf lasts %v, want %v", life, leafLife)
	}
	now = now.Add(leafRenew - 2*clockSlip)
	if !leaf("alpha.v.test").Equal(first) {
		t.Error("a young leaf was made again")
	}
	now = now.Add(2 * clockSlip)
	if leaf("alpha.v.test").Equal(first) {
		t.Error("an old leaf was not made again")
	}
	for i := range leafCache + 10 {
		a.leafs[fmt.Sprint(i)] = &tls.Certificate{Leaf: first}
	}
	leaf("beta.v.test")
	if len(a.leafs) > leafCache {
		t.Errorf("%d leafs are kept, want at most %d", len(a.leafs), leafCache)
	}
}

func TestGivenCertificates(t *testing.T) {
	theirs := newAuthority(t)
	pair, err := theirs.leaf("given.test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := CertificateFile{Certificate: filepath.Join(dir, "given.pem"), Key: filepath.Join(dir, "given.key")}
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePEM(files.Certificate, "CERTIFICATE", pair.Certificate[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePEM(files.Key, "PRIVATE KEY", secret, 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := openAuthority(filepath.Join(dir, "tls"), TLS{Certificates: []CertificateFile{files}})
	if err != nil {
		t.Fatal(err)
	}
	a.allow = func(string) bool { return true }
	if cert, err := handshake(t, a, "given.test", theirs.roots()); err != nil || !cert.Equal(pair.Leaf) {
		t.Errorf("its own name: %v, want the certificate given", err)
	}
	if cert, err := handshake(t, a, "other.test", a.roots()); err != nil || cert.Equal(pair.Leaf) {
		t.Errorf("another name: %v, want one of the own authority", err)
	}
	files.Key = files.Certificate
	if _, err := openAuthority(filepath.Join(dir, "tls"), TLS{Certificates: []CertificateFile{files}}); err == nil || !strings.Contains(err.Error(), files.Certificate) {
		t.Errorf("a certificate without its key: %v, want an error that names it", err)
	}
}
