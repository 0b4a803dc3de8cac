package dnsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// content is what a secondary zone holds: one version, as its primary gave it. It is immutable but for
// what is said of its place in the store, which belongs to whoever fetches the zone.
type content struct {
	tree      tree
	soa       *dns.SOA
	refreshed time.Time // when a primary last said that it is the present one
	kept      keptContent
}

// keptContent says where in the store a content is: chunks of one generation, the first of them whole,
// those after it differences.
type keptContent struct {
	generation, chunks uint32
	base, appended     int // octets of both kinds
}

// mostContent bounds a secondary zone, in octets of its records in wire form.
const mostContent = 1 << 30

// errContent is what a primary gave and what cannot be a zone.
var errContent = errors.New("not a zone")

// newContent makes a content of the records of an AXFR, without the closing SOA.
func newContent(apex string, records []dns.RR) (*content, error) {
	c := &content{tree: tree{}}
	c.tree.at(apex, apex)
	for _, rr := range records {
		key, err := admissible(apex, rr)
		if err != nil {
			return nil, err
		}
		c.tree.at(key, apex).add(rr)
	}
	return c, c.finish(apex)
}

// finish checks what makes a zone: one SOA.
func (c *content) finish(apex string) error {
	set := c.tree[apex].set(dns.TypeSOA)
	if len(set) != 1 {
		return fmt.Errorf("%w: it has %d SOA records", errContent, len(set))
	}
	c.soa = set[0].(*dns.SOA)
	return nil
}

// admissible returns the key of rr's owner, if rr can be in the zone.
func admissible(apex string, rr dns.RR) (string, error) {
	h := rr.Header()
	key, err := wireKey(h.Name)
	switch {
	case err != nil || !within(key, apex):
		return "", fmt.Errorf("%w: %s lies outside", errContent, h.Name)
	case h.Class != dns.ClassINET || isMeta(h.Rrtype) || h.Ttl > mostTTL:
		return "", fmt.Errorf("%w: %s has a record that cannot be stored", errContent, h.Name)
	case h.Rrtype == dns.TypeSOA && key != apex:
		return "", fmt.Errorf("%w: SOA at %s", errContent, h.Name)
	}
	return key, nil
}

// change is one difference of an IXFR: what goes and what comes, each with its SOA.
type change struct {
	removed, added []dns.RR
}

// patched returns the version that changes lead to. c stays as it is. A change that does not fit is an
// error: the zone must be taken whole.
func (c *content) patched(apex string, changes []change) (*content, error) {
	next := &content{tree: maps.Clone(c.tree), kept: c.kept}
	own := map[string]bool{} // nodes that are next's alone
	node := func(key string) *node {
		n := next.tree.at(key, apex)
		if !own[key] {
			own[key] = true
			n = cloneNode(n)
			next.tree[key] = n
		}
		return n
	}
	emptied := false
	for _, ch := range changes {
		for _, rr := range ch.removed {
			key, err := admissible(apex, rr)
			if err != nil {
				return nil, err
			}
			n := node(key)
			if !n.remove(rr) {
				return nil, fmt.Errorf("%w: a difference removes what is not there, at %s", errContent, rr.Header().Name)
			}
			emptied = emptied || len(n.sets) == 0
		}
		for _, rr := range ch.added {
			key, err := admissible(apex, rr)
			if err != nil {
				return nil, err
			}
			node(key).add(rr)
		}
	}
	if emptied {
		next.tree.prune(apex)
	}
	return next, next.finish(apex)
}

func cloneNode(n *node) *node {
	c := &node{sets: make([]rrset, len(n.sets))}
	for i, s := range n.sets {
		c.sets[i] = make(rrset, len(s))
		for j, rr := range s {
			c.sets[i][j] = dns.Copy(rr)
		}
	}
	return c
}

// remove takes rr out of its set, and reports whether it was there.
func (n *node) remove(rr dns.RR) bool {
	for i, s := range n.sets {
		at := slices.IndexFunc(s, func(x dns.RR) bool { return dns.IsDuplicate(x, rr) })
		if s[0].Header().Rrtype != rr.Header().Rrtype || at < 0 {
			continue
		}
		if n.sets[i] = slices.Delete(s, at, at+1); len(n.sets[i]) == 0 {
			n.sets = slices.Delete(n.sets, i, i+1)
		}
		return true
	}
	return false
}

// prune drops the nodes that neither have records nor are above any that have (RFC 4592 section 2.2.2).
func (t tree) prune(apex string) {
	needed := map[string]bool{apex: true}
	for key, n := range t {
		for ; len(n.sets) > 0 && !needed[key]; key = parent(key) {
			needed[key] = true
		}
	}
	maps.DeleteFunc(t, func(key string, _ *node) bool { return !needed[key] })
}

// fill makes z answer from c, or from nothing for the reason that absent says.
func (z *zone) fill(c *content, absent string) {
	z.ns, z.absent = "", absent
	if c == nil {
		return
	}
	z.tree, z.soa = c.tree, c.soa
	z.closed = false
	z.wire = newSOAWire(z)
}

// filled returns z with other contents.
func (z *zone) filled(c *content, absent string) *zone {
	next := &zone{
		number: z.number, id: z.id, name: z.name, apex: z.apex, role: z.role, service: z.service, networks: z.networks,
		edges: z.edges, ttl: z.ttl, tree: z.tree, soa: z.soa, wire: z.wire, serial: z.serial, peering: z.peering,
		additional: z.additional, updates: z.updates, overlaid: new(atomic.Pointer[overlay]),
	}
	next.fill(c, absent)
	return next
}

// Parts of a zone's data in the store: its head, and chunks of records under generation and number.
const (
	partHead  = 'h'
	partChunk = 'c'
)

// contentChunk is how many octets of records go into one chunk.
const contentChunk = 512 << 10

// head returns the datum that makes c's chunks count.
func (c *content) head(zone string) tandem.ZoneDatum {
	b := binary.BigEndian.AppendUint32(nil, c.kept.generation)
	b = binary.BigEndian.AppendUint32(b, c.kept.chunks)
	b = binary.BigEndian.AppendUint32(b, c.soa.Serial)
	b = binary.BigEndian.AppendUint64(b, uint64(c.refreshed.Unix()))
	return tandem.ZoneDatum{Zone: zone, Part: partHead, Octets: b}
}

func (k *keptContent) number() uint64 { return uint64(k.generation)<<32 | uint64(k.chunks) }

// Kinds of chunks, their first octet.
const (
	chunkRecords = iota
	chunkRemoved
	chunkAdded
)

// whole returns the data that keep c as a generation of its own.
func (c *content) whole(zone string) []tandem.ZoneDatum {
	c.kept = keptContent{generation: c.kept.generation + 1}
	var records []dns.RR
	for _, n := range c.tree {
		for _, s := range n.sets {
			records = append(records, s...)
		}
	}
	data := c.chunks(zone, chunkRecords, records)
	c.kept.base, c.kept.appended = c.kept.appended, 0
	return append(data, c.head(zone))
}

// appended returns the data that add changes to what is kept of the version before c.
func (c *content) appended(zone string, changes []change) []tandem.ZoneDatum {
	var data []tandem.ZoneDatum
	for _, ch := range changes {
		data = append(data, c.chunks(zone, chunkRemoved, ch.removed)...)
		data = append(data, c.chunks(zone, chunkAdded, ch.added)...)
	}
	return append(data, c.head(zone))
}

// chunks packs records, and counts the chunks.
func (c *content) chunks(zone string, kind byte, records []dns.RR) []tandem.ZoneDatum {
	var data []tandem.ZoneDatum
	buf := make([]byte, maxNameSize+10+streamSize)
	chunk := []byte{kind}
	end := func() {
		if len(chunk) > 1 {
			data = append(data, tandem.ZoneDatum{Zone: zone, Part: partChunk, Number: c.kept.number(), Octets: chunk})
			c.kept.appended += len(chunk)
			c.kept.chunks++
			chunk = []byte{kind}
		}
	}
	for _, rr := range records {
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			continue // came over the wire, and so it packs
		}
		if chunk = append(chunk, buf[:n]...); len(chunk) > contentChunk {
			end()
		}
	}
	end()
	return data
}

// readContent makes a content of what the store kept: chunks in order, and the head.
func readContent(apex string, head []byte, chunks []tandem.ZoneDatum) (*content, error) {
	if len(head) != 20 {
		return nil, fmt.Errorf("%w: its head is cut", errContent)
	}
	kept := keptContent{generation: binary.BigEndian.Uint32(head), chunks: binary.BigEndian.Uint32(head[4:])}
	var records []dns.RR
	var changes []change
	count := uint32(0)
	for _, d := range chunks {
		if uint32(d.Number>>32) != kept.generation || uint32(d.Number) >= kept.chunks || len(d.Octets) == 0 {
			continue
		}
		if uint32(d.Number) != count {
			break
		}
		count++
		list := slices.Collect(unpacked(d.Octets[1:]))
		switch d.Octets[0] {
		case chunkRecords:
			records = append(records, list...)
			kept.base += len(d.Octets)
		case chunkRemoved:
			changes = append(changes, change{removed: list})
			kept.appended += len(d.Octets)
		default:
			changes = append(changes, change{added: list})
			kept.appended += len(d.Octets)
		}
	}
	if count != kept.chunks {
		return nil, fmt.Errorf("%w: %d of %d chunks are there", errContent, count, kept.chunks)
	}
	c, err := newContent(apex, records)
	if err == nil && len(changes) > 0 {
		c, err = c.patched(apex, changes)
	}
	if err == nil && c.soa.Serial != binary.BigEndian.Uint32(head[8:]) {
		err = fmt.Errorf("%w: its serial is not the one kept", errContent)
	}
	if err != nil {
		return nil, err
	}
	c.kept, c.refreshed = kept, time.Unix(int64(binary.BigEndian.Uint64(head[12:])), 0)
	return c, nil
}
