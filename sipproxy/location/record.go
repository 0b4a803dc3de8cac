package location

import (
	"net/netip"
	"strings"
	"time"
	"unique"

	"tandem/internal/tandem"
)

// record is a binding as it is kept: 88 octets and its texts in one piece.
type record struct {
	text     string // contact, Call-ID, instance, device
	origin   unique.Handle[origin]
	expires  int64 // milliseconds since 1970
	updated  int64
	addr     [16]byte
	cseq     uint32
	regID    uint32
	port     uint16
	q        uint16
	contact  uint16 // where the contact ends in text
	callID   uint16
	instance uint16
	plain    bool // the address is IPv4
}

// origin is what many bindings share.
type origin struct {
	listener  string
	transport tandem.Transport
	userAgent string
	edge      string
	path      string // values, each ended by a line feed
}

// textLimit bounds each text of a record, in octets; what is longer is cut, but never a contact,
// for decide has refused it.
const textLimit = 8192

func cut(s string) string { return s[:min(len(s), textLimit)] }

func pack(b *tandem.Binding) record {
	callID, instance, device := cut(b.CallID), cut(b.Instance), cut(b.Device)
	addr := b.Source.Addr()
	var path strings.Builder
	for _, p := range b.Path {
		path.WriteString(p)
		path.WriteByte('\n')
	}
	contact := cut(b.Contact)
	r := record{
		text:    contact + callID + instance + device,
		origin:  unique.Make(origin{b.Listener, b.Transport, b.UserAgent, b.Edge, path.String()}),
		expires: b.Expires.UnixMilli(), updated: b.Updated.UnixMilli(),
		port: b.Source.Port(), cseq: b.CSeq, regID: b.RegID, q: b.Q, plain: addr.Is4(),
	}
	if addr.IsValid() {
		r.addr = addr.As16()
	}
	r.contact = uint16(len(contact))
	r.callID = r.contact + uint16(len(callID))
	r.instance = r.callID + uint16(len(instance))
	return r
}

func (r *record) unpack(account, aor string) tandem.Binding {
	o := r.origin.Value()
	addr := netip.AddrFrom16(r.addr)
	if r.plain {
		addr = addr.Unmap()
	}
	var path []string
	if o.path != "" {
		path = strings.Split(strings.TrimSuffix(o.path, "\n"), "\n")
	}
	return tandem.Binding{
		Account: account, AOR: aor, Contact: r.text[:r.contact], CallID: r.text[r.contact:r.callID],
		Instance: r.text[r.callID:r.instance], Device: r.text[r.instance:],
		Source: netip.AddrPortFrom(addr, r.port), Transport: o.transport, Listener: o.listener,
		RegID: r.regID, Q: r.q, CSeq: r.cseq, Path: path, UserAgent: o.userAgent, Edge: o.edge,
		Expires: time.UnixMilli(r.expires), Updated: time.UnixMilli(r.updated),
	}
}
