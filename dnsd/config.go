package dnsd

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// Config is what a file can say about DNS.
type Config struct {
	// Listen are the addresses served, each over UDP and TCP. Port 0 takes a free one, the same for
	// both.
	Listen []netip.AddrPort `yaml:"listen"`
	// Workers is how many sockets share each UDP address; zero: one per CPU.
	Workers int `yaml:"workers"`
	// TLS, QUIC and Proxy are further listeners.
	TLS   TLS   `yaml:"tls"`
	QUIC  QUIC  `yaml:"quic"`
	Proxy Proxy `yaml:"proxy"`
	// Host is the name of this server that clients of TLS and QUIC verify, such as ns1.example.net;
	// "": the records that tell of those transports stand at name servers of our own making only.
	Host string `yaml:"host"`
	// DDR answers _dns.resolver.arpa (RFC 9462) with Host; nil: when there is TLS or QUIC.
	DDR *bool `yaml:"ddr"`
	// TCPConnections bounds all connections over TCP, TLS and QUIC together, of which the one that has waited longest makes
	// room for a new one; zero: 1000.
	TCPConnections int `yaml:"tcpConnections"`
	// TCPPerClient bounds those of one address, or of one IPv6 /64; zero: 20.
	TCPPerClient int `yaml:"tcpPerClient"`
	// TCPIdle ends a connection that asks nothing; zero: 10 s (RFC 7766 section 6.2.3). Clients that
	// ask are told (RFC 7828).
	TCPIdle time.Duration `yaml:"tcpIdle"`
	// TCPQuery is how long one query, or a handshake, may take to arrive, and one answer to be taken;
	// zero: 5 s.
	TCPQuery time.Duration `yaml:"tcpQuery"`
	// Signatures bounds those of DNSSEC that are kept, at 90 octets each; zero: 131072.
	Signatures int `yaml:"signatures"`
	// SignRate bounds the new signatures a second for clients whose address may not be true, once for names
	// that exist and once for others; over it they are sent to TCP. Zero: 2000 a CPU.
	SignRate int `yaml:"signRate"`
	// NSID is told to those who ask which server it is that answers (RFC 5001); empty: nobody is told.
	NSID string `yaml:"nsid"`
	// Cookies are the secrets of DNS cookies.
	Cookies Cookies `yaml:"cookies"`
	// RateLimit bounds what UDP clients get who do not prove their address.
	RateLimit RateLimit `yaml:"rateLimit"`
	// Dnstap and QueryLog show queries, or a share of them.
	Dnstap   Dnstap   `yaml:"dnstap"`
	QueryLog QueryLog `yaml:"queryLog"`
	// XDP says whether common questions are answered where packets arrive: off, native (in the network
	// device's driver), generic, or auto, native where there is such a driver. Where it cannot be done all
	// is answered over sockets. Empty: off.
	XDP xdpMode `yaml:"xdp"`
	// XDPDevices are the network devices to do it on; empty: those, but for loopback, with an address listened at.
	XDPDevices []string `yaml:"xdpDevices"`
	// ECS says whom to believe about clients elsewhere (RFC 7871).
	ECS ECS `yaml:"ecs"`
}

// ECS lists the resolvers that may say for whom they ask, so that an account's nearest edges are
// answered. Empty: nobody.
type ECS struct {
	Resolvers []netip.Prefix `yaml:"resolvers"`
}

// Validate reports every fault of c as tandem.FieldErrors.
func (c Config) Validate() error {
	var errs tandem.FieldErrors
	if len(c.Listen) == 0 {
		errs = append(errs, tandem.FieldError{Field: "listen", Reason: "is missing: at least one address and port"})
	}
	errs = append(errs, addressFaults("listen", c.Listen)...)
	errs = append(errs, c.TLS.faults()...)
	errs = append(errs, c.QUIC.faults()...)
	errs = append(errs, c.Proxy.faults()...)
	errs = append(errs, c.Dnstap.faults()...)
	errs = append(errs, c.QueryLog.faults()...)
	if _, err := wireKey(dns.Fqdn(c.Host)); err != nil && c.Host != "" {
		errs = append(errs, tandem.FieldError{Field: "host", Reason: "is not a host name such as ns1.example.net"})
	}
	for i, n := range c.ECS.Resolvers {
		if !n.IsValid() || n != n.Masked() {
			errs = append(errs, tandem.FieldError{Field: fmt.Sprintf("ecs.resolvers[%d]", i), Reason: "is not a network such as 192.0.2.0/24"})
		}
	}
	for _, f := range []struct {
		field string
		value int64
	}{
		{"workers", int64(c.Workers)}, {"tcpConnections", int64(c.TCPConnections)}, {"tcpPerClient", int64(c.TCPPerClient)},
		{"tcpIdle", int64(c.TCPIdle)}, {"tcpQuery", int64(c.TCPQuery)},
		{"signatures", int64(c.Signatures)}, {"signRate", int64(c.SignRate)},
	} {
		if f.value < 0 {
			errs = append(errs, tandem.FieldError{Field: f.field, Reason: "is below zero"})
		}
	}
	if len(c.NSID) > nsidSize {
		errs = append(errs, tandem.FieldError{Field: "nsid", Reason: fmt.Sprintf("is longer than %d octets", nsidSize)})
	}
	errs = c.XDP.fault(c.RateLimit.faults(c.Cookies.faults(errs)))
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// addressFaults reports what in a list is no address and port.
func addressFaults(field string, addrs []netip.AddrPort) (errs tandem.FieldErrors) {
	for i, a := range addrs {
		if !a.IsValid() {
			errs = append(errs, tandem.FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Reason: "is not an address and port such as 127.0.0.1:53"})
		}
	}
	return errs
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults(cpus int) Config {
	c.Workers = orDefault(c.Workers, cpus)
	c.Signatures = orDefault(c.Signatures, 1<<17)
	c.SignRate = orDefault(c.SignRate, 2000*cpus)
	c.TCPConnections = orDefault(c.TCPConnections, 1000)
	c.TCPPerClient = orDefault(c.TCPPerClient, 20)
	c.TCPIdle = orDefault(c.TCPIdle, 10*time.Second)
	c.TCPQuery = orDefault(c.TCPQuery, 5*time.Second)
	c.Cookies.DemandAbove = orDefault(c.Cookies.DemandAbove, 100_000)
	c.RateLimit.AnswersPerSecond = orDefault(c.RateLimit.AnswersPerSecond, 200)
	c.RateLimit.Slip = orDefault(c.RateLimit.Slip, 2)
	c.RateLimit.Buckets = orDefault(c.RateLimit.Buckets, 1<<16)
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}
