package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/net/dns/dnsmessage"

	"tandem/internal/tandem"
)

// Resolver finds where a SIP URI leads as RFC 3263 section 4 says, asking one DNS server. The zero
// value knows numeric addresses only.
type Resolver struct {
	Server netip.AddrPort
	// Only, when set, keeps to one transport for names that ask for none; NAPTR's others are passed over.
	Only tandem.Transport
}

// errNoServer says that a name was to be looked up by a Resolver without a server.
var errNoServer = errors.New("no DNS server to ask")

// askWait bounds one DNS question.
const askWait = 3 * time.Second

// Targets returns the places to try for a sip: URI, best first.
func (r Resolver) Targets(ctx context.Context, uri string) ([]tandem.Target, error) {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return nil, fmt.Errorf("resolve %s: %w", uri, err)
	}
	return r.targets(ctx, u)
}

// first returns the best place for a URI.
func (r Resolver) first(ctx context.Context, u sip.Uri) (tandem.Target, error) {
	all, err := r.targets(ctx, u)
	if err != nil {
		return tandem.Target{}, err
	}
	return all[0], nil
}

func (r Resolver) targets(ctx context.Context, u sip.Uri) ([]tandem.Target, error) {
	if maddr, ok := u.UriParams.Get("maddr"); ok {
		u.Host = maddr
	}
	asked, err := transportAsked(u)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(strings.Trim(u.Host, "[]")); err == nil {
		return []tandem.Target{{Transport: cmp.Or(asked, tandem.UDP), Addr: netip.AddrPortFrom(addr, cmp.Or(uint16(u.Port), 5060)), Host: u.Host}}, nil
	}
	if !r.Server.IsValid() {
		return nil, fmt.Errorf("resolve %s: %w", u.Host, errNoServer)
	}
	found, err := r.named(ctx, u, cmp.Or(asked, r.Only))
	if err == nil && len(found) == 0 {
		err = errors.New("no usable record")
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", u.Host, err)
	}
	return found, nil
}

// transportAsked returns the transport that the URI demands, zero when it demands none.
func transportAsked(u sip.Uri) (tandem.Transport, error) {
	name, ok := u.UriParams.Get("transport")
	if !ok {
		return 0, nil
	}
	var t tandem.Transport
	if err := t.UnmarshalText([]byte(strings.ToLower(name))); err != nil {
		return 0, err
	}
	return t, nil
}

// named looks a host name up: with a port its addresses only, with a transport the SRV records of
// that, else the NAPTR records and what they lead to (RFC 3263 sections 4.1 and 4.2).
func (r Resolver) named(ctx context.Context, u sip.Uri, asked tandem.Transport) ([]tandem.Target, error) {
	if u.Port != 0 {
		return r.addresses(ctx, u.Host, uint16(u.Port), cmp.Or(asked, tandem.UDP), tandem.Target{})
	}
	services, err := r.services(ctx, u.Host, asked)
	if err != nil {
		return nil, err
	}
	var found []tandem.Target
	for _, s := range services {
		more, err := r.service(ctx, s)
		if err != nil && !notFound(err) {
			return found, err
		}
		found = append(found, more...)
	}
	if len(found) > 0 {
		return found, nil
	}
	return r.addresses(ctx, u.Host, 5060, cmp.Or(asked, tandem.UDP), tandem.Target{})
}

// service is an SRV name and the transport that it stands for.
type service struct {
	transport tandem.Transport
	name      string
}

// services returns the SRV names to ask, in order: those that NAPTR names, else the usual ones.
func (r Resolver) services(ctx context.Context, host string, asked tandem.Transport) ([]service, error) {
	usual := []service{{tandem.UDP, "_sip._udp." + host}, {tandem.TCP, "_sip._tcp." + host}}
	naptrs, err := r.naptr(ctx, host)
	if err != nil {
		return nil, err
	}
	var found []service
	for _, n := range naptrs {
		t, ok := map[string]tandem.Transport{"SIP+D2U": tandem.UDP, "SIP+D2T": tandem.TCP}[strings.ToUpper(n.services)]
		if ok && strings.EqualFold(n.flags, "s") {
			found = append(found, service{t, n.replacement})
		}
	}
	if len(found) == 0 {
		found = usual
	}
	if asked != 0 {
		found = slices.DeleteFunc(found, func(s service) bool { return s.transport != asked })
	}
	return found, nil
}

// service follows one SRV name to addresses; net sorts by priority and weight (RFC 2782).
func (r Resolver) service(ctx context.Context, s service) ([]tandem.Target, error) {
	_, records, err := r.net().LookupSRV(ctx, "", "", s.name+".")
	if err != nil {
		return nil, err
	}
	var found []tandem.Target
	for _, rec := range records {
		like := tandem.Target{Priority: rec.Priority, Weight: rec.Weight}
		more, err := r.addresses(ctx, strings.TrimSuffix(rec.Target, "."), rec.Port, s.transport, like)
		if err != nil && !notFound(err) {
			return found, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func (r Resolver) addresses(ctx context.Context, host string, port uint16, t tandem.Transport, like tandem.Target) ([]tandem.Target, error) {
	addrs, err := r.net().LookupNetIP(ctx, "ip", host+".")
	if err != nil {
		return nil, err
	}
	found := make([]tandem.Target, len(addrs))
	for i, a := range addrs {
		found[i] = like
		found[i].Transport, found[i].Host = t, strings.ToLower(host)
		found[i].Addr = netip.AddrPortFrom(a.Unmap(), port)
	}
	return found, nil
}

// net is the standard library's resolver, asking our server.
func (r Resolver) net() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.Server.String())
	}}
}

func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// naptr is one NAPTR record (RFC 3403 section 4.1).
type naptr struct {
	order, preference            uint16
	flags, services, replacement string
}

// naptr asks for the NAPTR records of host, sorted; none is no error.
func (r Resolver) naptr(ctx context.Context, host string) ([]naptr, error) {
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return nil, err
	}
	id := uint16(rand.Uint32())
	question, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: typeNAPTR, Class: dnsmessage.ClassINET}}}).Pack()
	if err != nil {
		return nil, err
	}
	answer, err := r.exchange(ctx, question)
	if err != nil {
		return nil, err
	}
	return readNAPTR(answer, id, host)
}

const typeNAPTR = dnsmessage.Type(35)

// exchange asks over UDP, and over TCP when the answer does not fit.
func (r Resolver) exchange(ctx context.Context, question []byte) ([]byte, error) {
	answer, err := r.exchangeOver(ctx, "udp", question)
	if err == nil && len(answer) > 2 && answer[2]&2 != 0 { // TC
		return r.exchangeOver(ctx, "tcp", question)
	}
	return answer, err
}

func (r Resolver) exchangeOver(ctx context.Context, network string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, r.Server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 65537)
	if network == "udp" {
		n, err := conn.Read(answer)
		return answer[:n], err
	}
	return readFramed(conn, answer)
}
