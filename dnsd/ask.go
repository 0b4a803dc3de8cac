package dnsd

import "encoding/binary"

// DNS numbers that the fast path compares with.
const (
	typeA     = 1
	typeAAAA  = 28
	typeSRV   = 33
	typeNAPTR = 35
	typeOPT   = 41
	typeHTTPS = 65
	classIN   = 1

	rcodeNXDomain = 3

	flagQR = 0x80 // octet 2
	flagAA = 0x04
	flagRD = 0x01

	optionNSID      = 3
	optionCookie    = 10
	optionKeepalive = 11
	optionPadding   = 12

	optSize = 11 // an OPT record without options
)

// ask is a question as the fast path reads it.
type ask struct {
	name   [256]byte // lower case, wire form
	size   int       // of name
	labels [128]uint8
	count  int // labels, without the root
	rrtype uint16
	edns   bool
	do     bool

	compact bool // CO

	limit int

	nsid                 bool
	cookieAt, cookieSize int // the COOKIE option's data; 0: none
}

// read takes the question apart; false means that the packet is not of the common kind.
func (q *ask) read(in []byte, stream bool) bool {
	// one question, no answers, no authority, at most one additional record; opcode QUERY, no TC
	if len(in) < headerSize+5 || in[2]&^flagRD != 0 || in[4] != 0 || in[5] != 1 ||
		in[6]|in[7]|in[8]|in[9]|in[10] != 0 || in[11] > 1 {
		return false
	}
	at, ok := q.readName(in)
	if !ok || at+4 > len(in) || in[at+2] != 0 || in[at+3] != classIN {
		return false
	}
	q.rrtype = binary.BigEndian.Uint16(in[at:])
	if q.rrtype == 0 || q.rrtype == typeOPT || q.rrtype >= 128 && q.rrtype <= 255 {
		return false
	}
	q.limit = minimumSize
	if stream {
		q.limit = streamSize
	}
	rest := in[at+4:]
	if in[11] == 0 {
		return len(rest) == 0
	}
	return q.readOPT(in, at+4, stream)
}

// readName copies the question's name in lower case and returns the offset after it.
func (q *ask) readName(in []byte) (int, bool) {
	at := headerSize
	for at < len(in) {
		n := int(in[at])
		if n > 63 || at+1+n > len(in) || q.size+1+n > 255 {
			return 0, false
		}
		if n == 0 {
			q.name[q.size] = 0
			q.size++
			return at + 1, true
		}
		q.labels[q.count] = uint8(q.size)
		q.count++
		q.name[q.size] = byte(n)
		for i := 1; i <= n; i++ {
			c := in[at+i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.name[q.size+i] = c
		}
		q.size += n + 1
		at += n + 1
	}
	return 0, false
}

// readOPT takes an OPT record that fills in from offset at on: version 0, and options that are
// common.
func (q *ask) readOPT(in []byte, at int, stream bool) bool {
	b := in[at:]
	if len(b) < optSize || b[0] != 0 || b[1] != 0 || b[2] != typeOPT || b[5] != 0 || b[6] != 0 ||
		int(binary.BigEndian.Uint16(b[9:])) != len(b)-optSize {
		return false
	}
	q.edns, q.do, q.compact = true, b[7]&0x80 != 0, b[7]&0x40 != 0
	if !stream {
		q.limit = min(max(int(binary.BigEndian.Uint16(b[3:])), minimumSize), datagramSize)
	}
	for o := at + optSize; o < len(in); {
		if o+4 > len(in) {
			return false
		}
		code, n := binary.BigEndian.Uint16(in[o:]), int(binary.BigEndian.Uint16(in[o+2:]))
		o += 4
		if o+n > len(in) || !q.takeOption(code, o, n) {
			return false
		}
		o += n
	}
	return true
}

// takeOption notes an option with n octets of data at offset at, and reports whether it is one that
// clients commonly send, well formed.
func (q *ask) takeOption(code uint16, at, n int) bool {
	switch code {
	case optionCookie:
		if q.cookieSize > 0 || n != 8 && (n < 16 || n > 40) {
			return false
		}
		q.cookieAt, q.cookieSize = at, n
		return true
	case optionNSID:
		q.nsid = true
		return n == 0
	case optionKeepalive:
		return n == 0
	}
	return code == optionPadding
}

// label returns label number i without its length.
func (q *ask) label(i int) []byte {
	at := int(q.labels[i])
	return q.name[at+1 : at+1+int(q.name[at])]
}

// from returns the name from label number i on.
func (q *ask) from(i int) []byte {
	if i == q.count {
		return q.name[q.size-1 : q.size]
	}
	return q.name[q.labels[i]:q.size]
}
