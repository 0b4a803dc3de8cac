package tests

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// streamConfig is a server with every transport of DNS, on the ports of the quick start.
const streamConfig = `
data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [NET.1:5300]
  host: localhost
  tls: {listen: [NET.1:8853]}
  quic: {listen: [NET.1:8853]}
  proxy: {from: [127.0.0.1/32], listen: [NET.1:5301], tls: [NET.1:5302]}
tls:
  authority: DIR/ca.pem
`

// TestDNSTransports asks over each transport with programs of others.
func TestDNSTransports(t *testing.T) {
	s := startWith(t, streamConfig)
	name := "alpha.voice.example.net"
	t.Run("kdig over TLS, verified by name and padded", func(t *testing.T) {
		got := s.kdig("-p", "8853", "+tls", "+tls-ca="+s.path("ca.pem"), "+tls-hostname=localhost", "+padding=128", name, "NAPTR")
		if got.status != "NOERROR" || len(got.answer) == 0 || !strings.Contains(got.text, "TLS session (TLS1.3)") || !strings.Contains(got.text, "PADDING") {
			t.Errorf("kdig +tls = %s", got.text)
		}
	})
	t.Run("kdig over TLS, another name", func(t *testing.T) {
		out, err := exec.Command("kdig", "@"+s.addr(1), "-p", "8853", "+tls", "+tls-ca="+s.path("ca.pem"), "+tls-hostname=other.test", "+retry=0", "+time=2", name).CombinedOutput()
		if err == nil && strings.Contains(string(out), "NOERROR") {
			t.Errorf("a certificate for another name was believed: %s", out)
		}
	})
	t.Run("kdig over QUIC", func(t *testing.T) {
		got := s.kdig("-p", "8853", "+quic", name, "NAPTR")
		if got.status != "NOERROR" || len(got.answer) == 0 || !strings.Contains(got.text, "QUIC") {
			t.Errorf("kdig +quic = %s", got.text)
		}
	})
	t.Run("kdig keeps a connection", func(t *testing.T) {
		for _, over := range []string{"+tcp", "+tls"} {
			port := map[string]string{"+tcp": "5300", "+tls": "8853"}[over]
			got := s.kdig("-p", port, over, "+keepopen", name, "NAPTR", "-t", "SRV", "-q", "_sip._udp."+name, "-q", "nobody.voice.example.net")
			if strings.Count(got.text, "status: NOERROR") < 1 || !strings.Contains(got.text, "status: NXDOMAIN") {
				t.Errorf("kdig %s +keepopen = %s", over, got.text)
			}
		}
	})
	t.Run("dig asks for the idle timeout", func(t *testing.T) {
		if got := s.dig("+tcp", "+keepalive", name, "NAPTR"); !strings.Contains(got.text, "TCP-KEEPALIVE: 10.0 secs") && !strings.Contains(got.text, "TCP KEEPALIVE: 10.0 secs") {
			t.Errorf("dig +tcp +keepalive = %s", got.text)
		}
		if got := s.dig("+tcp", name, "NAPTR"); strings.Contains(strings.ToUpper(got.text), "KEEPALIVE") {
			t.Errorf("dig +tcp = %s", got.text)
		}
	})
	t.Run("kdig behind a proxy", func(t *testing.T) {
		forwarding := "invite.1001.svc.voice.example.net"
		for _, test := range []struct{ client, want string }{{"127.0.0.9", "NOERROR"}, {"198.51.100.9", "REFUSED"}} {
			for _, over := range []string{"+notcp", "+tcp"} {
				got := s.kdig("-p", "5301", over, "+proxy="+test.client+"#4242-"+s.addr(1)+"#53", forwarding, "NAPTR")
				if got.status != test.want {
					t.Errorf("%s for %s: %s, want %s", over, test.client, got.text, test.want)
				}
			}
		}
	})
	t.Run("dig learns of the transports", func(t *testing.T) {
		got := s.dig("_dns.resolver.arpa", "TYPE64")
		if got.status != "NOERROR" || len(got.answer) != 1 {
			t.Errorf("dig = %s", got.text)
		}
	})
	t.Run("openssl", func(t *testing.T) { s.openssl(t) })
}

// openssl looks at protocol and resumption with OpenSSL.
func (s *server) openssl(t *testing.T) {
	session := s.path("session.pem")
	run := func(args ...string) string {
		args = append([]string{"s_client", "-connect", s.addr(1) + ":8853", "-CAfile", s.path("ca.pem"), "-verify_hostname", "localhost", "-servername", "localhost"}, args...)
		cmd := exec.Command("openssl", args...)
		cmd.Stdin = strings.NewReader("Q\n")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := run("-alpn", "dot"); !strings.Contains(out, "ALPN protocol: dot") || !strings.Contains(out, "Verify return code: 0") {
		t.Errorf("s_client -alpn dot = %s", out)
	}
	if out := run("-alpn", "h2"); !strings.Contains(out, "no application protocol") {
		t.Errorf("s_client -alpn h2 = %s", out)
	}
	run("-tls1_2", "-sess_out", session)
	if _, err := os.Stat(session); err != nil {
		t.Fatal(err)
	}
	if out := run("-tls1_2", "-sess_in", session); !strings.Contains(out, "Reused, TLSv1.2") {
		t.Errorf("s_client -sess_in = %s", out)
	}
}

// TestSilentTLSConnections: who connects and says nothing shuts nobody out.
func TestSilentTLSConnections(t *testing.T) {
	s := startWith(t, streamConfig[:strings.Index(streamConfig, "  proxy:")]+"  tcpConnections: 200\n  tcpPerClient: 2000\ntls: {authority: DIR/ca.pem}\n")
	for i := range 600 {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", s.addr(1)+":8853")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			fmt.Fprint(bufio.NewWriterSize(conn, 16), "\x16\x03\x01\x02\x00")
		}
	}
	for _, args := range [][]string{{"+notcp"}, {"+tcp"}, {"-p", "8853", "+tls"}} {
		if got := s.kdig(append(args, "alpha.voice.example.net", "NAPTR")...); got.status != "NOERROR" {
			t.Errorf("kdig %v = %s", args, got.text)
		}
	}
}
