package guard

import (
	"encoding/binary"
	"net/netip"
)

const (
	headerSize = 12
	optSize    = 11
	typeOPT    = 41

	optionCookie = 10
	badCookie    = 23 // rcode

	payload = 1232 // octets that we take, as our OPT says
)

// Facts is what the guard, and the statistics, need to know of a query, read without a look at
// whether it is right otherwise.
type Facts struct {
	End    int    // offset after the question; 0 when there is not exactly one
	Type   uint16 // QTYPE
	EDNS   bool   // an OPT record follows the question
	DO     bool
	Cookie []byte // data of its first COOKIE option, when their length is allowed; nil: none
}

// Read reads in. It takes everything.
func Read(in []byte) (f Facts) {
	if len(in) < headerSize || binary.BigEndian.Uint16(in[4:]) != 1 {
		return f
	}
	at := headerSize
	for at < len(in) && in[at] != 0 {
		if in[at] > 63 {
			return f // no pointer in the first name, nor anything else
		}
		at += int(in[at]) + 1
	}
	if at-headerSize > 254 || at+5 > len(in) {
		return f
	}
	f.End, f.Type = at+5, binary.BigEndian.Uint16(in[at+1:])
	if in[6]|in[7]|in[8]|in[9] == 0 && in[10]|in[11] != 0 {
		f.readOPT(in[f.End:])
	}
	return f
}

// readOPT reads the record at the beginning of b, if it is OPT of version 0.
func (f *Facts) readOPT(b []byte) {
	if len(b) < optSize || b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != typeOPT || b[6] != 0 {
		return
	}
	f.EDNS, f.DO = true, b[7]&0x80 != 0
	options := b[optSize:]
	options = options[:min(len(options), int(binary.BigEndian.Uint16(b[9:])))]
	for len(options) >= 4 {
		n := int(binary.BigEndian.Uint16(options[2:]))
		if 4+n > len(options) {
			return
		}
		if binary.BigEndian.Uint16(options) == optionCookie {
			if WellFormed(n) {
				f.Cookie = options[4 : 4+n : 4+n]
			}
			return // the first one counts (RFC 7873 section 5)
		}
		options = options[4+n:]
	}
}

// Short writes an answer without records into out and returns its length: with TC, or, for a
// Challenge, with BADCOOKIE. f.End is not 0. A cookie option is answered by one, made for client
// (RFC 7873 section 5.2.3). out holds in and 40 octets more.
func (w *Watch) Short(v Verdict, in, out []byte, f *Facts, client netip.Addr) int {
	at := copy(out, in[:f.End])
	out[2] = 0x80 | in[2]&0x79 // QR; opcode and RD as asked
	out[3] = 0
	clear(out[6:headerSize])
	if v == Truncate {
		out[2] |= 0x02
	} else {
		out[3] = badCookie & 15
	}
	if !f.EDNS {
		return at
	}
	out[11] = 1
	opt := out[at : at+optSize]
	clear(opt)
	opt[2] = typeOPT
	binary.BigEndian.PutUint16(opt[3:], payload)
	if v == Challenge {
		opt[5] = badCookie >> 4
	}
	if f.DO {
		opt[7] = 0x80
	}
	at += optSize
	if f.Cookie == nil {
		return at
	}
	binary.BigEndian.PutUint16(opt[9:], 4+CookieSize)
	binary.BigEndian.PutUint16(out[at:], optionCookie)
	binary.BigEndian.PutUint16(out[at+2:], CookieSize)
	w.g.jar.Put(out[at+4:at+4+CookieSize], f.Cookie, client, w.unix)
	return at + 4 + CookieSize
}
