package dnsd

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// What goes into ADDITIONAL. The size of an answer is what an attacker wants: a client whose address
// may be forged gets the addresses that the type asks for, and no more.

// addHosts adds what a set points to, as far as the zone wants: addresses of hosts, RFC 2782 for SRV,
// RFC 1035 section 3.3 for MX and NS; and for NAPTR the whole chain that RFC 3263 walks. What comes
// first is needed first, for the last is dropped first.
func (w *walk) addHosts(set rrset, owner string) {
	if w.zone.additional == tandem.AdditionalNone {
		return
	}
	if set[0].Header().Rrtype == dns.TypeNAPTR {
		if w.asker.proven && w.zone.additional == tandem.AdditionalChain {
			w.addChain(set)
		}
		return
	}
	w.addTargets(set, map[string]bool{strings.ToLower(owner): true})
}

// addTargets adds the addresses of the hosts that a set points to and that have not been added yet.
func (w *walk) addTargets(set rrset, added map[string]bool) {
	for _, rr := range set {
		var host string
		switch rr := rr.(type) {
		case *dns.SRV:
			host = rr.Target
		case *dns.MX:
			host = rr.Mx
		case *dns.NS:
			host = rr.Ns
		default:
			return
		}
		w.addAddresses(host, added)
	}
}

func (w *walk) addAddresses(host string, added map[string]bool) {
	if name := strings.ToLower(host); !added[name] {
		added[name] = true
		w.extra = append(w.extra, w.addressesOf(host)...)
	}
}

// addChain adds, for each NAPTR record in the order to try them, the SRV set that it leads to and the
// addresses of its hosts, or the addresses that it leads to.
func (w *walk) addChain(set rrset) {
	added, followed := map[string]bool{}, map[string]bool{}
	for _, n := range sortedNAPTR(&reply{answer: []rrset{set}}) {
		switch name := n.Replacement; strings.ToLower(n.Flags) {
		case "a":
			w.addAddresses(name, added)
		case "s":
			if key := strings.ToLower(name); !followed[key] {
				followed[key] = true
				w.addServers(name, added)
			}
		}
	}
}

// addServers adds the SRV set at a name of the zone, and the addresses of its hosts.
func (w *walk) addServers(name string, added map[string]bool) {
	key, err := wireKey(name)
	if err != nil || w.zoneOf(key) != w.zone {
		return
	}
	if n, _ := w.at(key); n != nil {
		if srv := n.set(dns.TypeSRV); srv != nil {
			w.extra = append(w.extra, owned(srv, name))
			w.addTargets(srv, added)
		}
	}
}

// mostChain bounds the octets that stand ready beside a NAPTR set; longer chains are left to the full path.
const mostChain = 4096

// wireChain is what belongs beside a NAPTR set, for the fast path.
type wireChain struct {
	octets []byte
	count  uint16
	links  []wireLink
}

// wireLink is an owner within a chain that stands, uncompressed, elsewhere: at an offset of the answer
// section's octets behind so many names that were put in, or with names -1 at an offset of the chain.
type wireLink struct{ at, to, names int }

// makeChain packs the chain beside r's NAPTR set. extras are the addresses beside each SRV set.
func (r *records) makeChain(extras [7][]hostSet) {
	w := &r.wire[placeNAPTR]
	c := &wireChain{}
	added := map[string]bool{}
	number := 0 // of the NAPTR record
	for i, s := range services() {
		set := r.sets[placeSRV+i]
		if len(set) == 0 || s.naptr == "" {
			continue
		}
		owner := w.tails[number] - len(s.label) - len(s.proto) - 2
		hosts := make([]int, len(set))
		for k, rr := range set {
			hosts[k] = len(c.octets) + fixedSize + 6
			c.add(rr, wireLink{to: owner, names: number})
		}
		number++
		for _, h := range extras[i] {
			if key := strings.ToLower(h.name) + dns.TypeToString[h.set[0].Header().Rrtype]; !added[key] {
				added[key] = true
				for _, rr := range h.set {
					c.add(rr, wireLink{to: hosts[h.record], names: -1})
				}
			}
		}
	}
	w.chain = c
}

func (c *wireChain) add(rr dns.RR, owner wireLink) {
	owner.at = len(c.octets)
	c.links = append(c.links, owner)
	c.octets = append(c.octets, packRecord(rr)...)
	c.count++
}

// put writes the chain behind the answer section, whose octets begin at answersAt, and returns the
// offset after it.
func (c *wireChain) put(out []byte, at, answersAt, nameSize int) int {
	chainAt := at
	at += copy(out[at:], c.octets)
	for _, l := range c.links {
		to := chainAt + l.to
		if l.names >= 0 {
			to = answersAt + l.to + l.names*nameSize
		}
		binary.BigEndian.PutUint16(out[chainAt+l.at:], 0xc000|uint16(to))
	}
	return at
}

// chained returns the chain that belongs beside w for the one who asks, nil for none.
func (a *composer) chained(w *wireSet) *wireChain {
	if a.proven && a.z.additional == tandem.AdditionalChain {
		return w.chain
	}
	return nil
}
