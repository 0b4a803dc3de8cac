package sign

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// AskDS asks one server of the parent zone, at an address with or without port, for the DS set of zone
// and returns it, empty when the server has authority and says that there is none.
func AskDS(ctx context.Context, server, zone string) ([]*dns.DS, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(zone), dns.TypeDS)
	query.RecursionDesired = false
	query.SetEdns0(1232, false)
	var reply *dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: 5 * time.Second}
		var err error
		if reply, _, err = client.ExchangeContext(ctx, query, server); err != nil {
			return nil, fmt.Errorf("ask %s for the DS of %s: %w", server, zone, err)
		}
		if !reply.Truncated {
			break
		}
	}
	if reply.Rcode != dns.RcodeSuccess || !reply.Authoritative {
		return nil, fmt.Errorf("ask %s for the DS of %s: %s, authoritative %v", server, zone, dns.RcodeToString[reply.Rcode], reply.Authoritative)
	}
	var set []*dns.DS
	for _, rr := range reply.Answer {
		if ds, ok := rr.(*dns.DS); ok && strings.EqualFold(ds.Hdr.Name, dns.Fqdn(zone)) {
			set = append(set, ds)
		}
	}
	if len(set) == 0 && len(reply.Answer) > 0 {
		return nil, errors.New("the answer of " + server + " holds no DS")
	}
	return set, nil
}

// Names reports whether one of set is the DS of a key.
func Names(set []*dns.DS, key *dns.DNSKEY) bool {
	for _, ds := range set {
		own := key.ToDS(ds.DigestType)
		if own != nil && own.KeyTag == ds.KeyTag && own.Algorithm == ds.Algorithm && strings.EqualFold(own.Digest, ds.Digest) {
			return true
		}
	}
	return false
}
