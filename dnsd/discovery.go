package dnsd

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// How clients learn that this server is also reached by TLS and QUIC: SVCB records at _dns.<name of the
// name server> (RFC 9461), and at _dns.resolver.arpa for those who know the address only (RFC 9462).

// discoveryTTL is the life of the records in seconds. Listeners change at a restart only.
const discoveryTTL = 300

// designation is what the records say. It is immutable.
type designation struct {
	host     string // that certificates are verified against; "": none was configured
	key      string // its wire form
	resolver bool   // whether resolver.arpa is answered
	ways     []encryption
}

// encryption is one transport that encrypts.
type encryption struct {
	alpn []string
	port uint16
}

// defaultPort is that of both transports (RFC 7858 section 3.1, RFC 9250 section 4.1.1).
const defaultPort = 853

// designate returns what records say about listeners at these addresses; nil when there are none.
func (c Config) designate(overTLS, overQUIC []netip.AddrPort) *designation {
	d := &designation{resolver: c.DDR == nil || *c.DDR}
	if c.Host != "" {
		d.host = dns.Fqdn(strings.ToLower(c.Host))
		d.key, _ = wireKey(d.host)
	}
	for _, l := range []struct {
		protocol string
		addrs    []netip.AddrPort
	}{{"dot", overTLS}, {"doq", overQUIC}} {
		if len(l.addrs) == 0 {
			continue
		}
		port := l.addrs[0].Port()
		if n := len(d.ways); n > 0 && d.ways[n-1].port == port {
			d.ways[n-1].alpn = append(d.ways[n-1].alpn, l.protocol)
			continue
		}
		d.ways = append(d.ways, encryption{alpn: []string{l.protocol}, port: port})
	}
	if len(d.ways) == 0 {
		return nil
	}
	return d
}

// node returns the records that lead from a name to target.
func (d *designation) node(owner, target string) *node {
	var set rrset
	for i, w := range d.ways {
		rr := &dns.SVCB{Hdr: header(owner, dns.TypeSVCB, discoveryTTL), Priority: uint16(1 + i), Target: target}
		rr.Value = append(rr.Value, &dns.SVCBAlpn{Alpn: w.alpn})
		if w.port != defaultPort {
			rr.Value = append(rr.Value, &dns.SVCBPort{Port: w.port})
		}
		set = append(set, rr)
	}
	return nodeOf(set)
}

// designated returns what stands at key when that is _dns.<a name server of our own> in z, else nil:
// ns.<apex> of our own making, and the configured host. Records of the zone's text are served instead.
func (m *model) designated(z *zone, key string) *composition {
	d := m.designation.Load()
	server, ok := strings.CutPrefix(key, "\x04_dns")
	if d == nil || !ok || server == "" || z.tree[key] != nil {
		return nil
	}
	switch {
	case server == z.ns:
		return &composition{node: d.node(present(key), present(server))}
	case server == d.key && z.tree[server] != nil:
		return &composition{node: d.node(present(key), d.host)}
	}
	return nil
}

// resolverArpa is resolver.arpa in wire form.
const resolverArpa = "\x08resolver\x04arpa\x00"

// special answers for names that are special everywhere, unless a zone of ours holds them; nil for all
// others. Below resolver.arpa only one name holds anything, and all exist (RFC 9462 section 6.4). There
// is no SOA that could be sent beside a denial: nobody shall keep it.
func (m *model) special(q question) *reply {
	d := m.designation.Load()
	if d == nil || !d.resolver || !within(q.key, resolverArpa) {
		return nil
	}
	r := &reply{authoritative: true}
	if d.host != "" && q.key == "\x04_dns"+resolverArpa && (q.rrtype == dns.TypeSVCB || q.rrtype == dns.TypeANY) {
		r.answer = append(r.answer, owned(d.node(q.name, d.host).set(dns.TypeSVCB), q.name))
	}
	return r
}
