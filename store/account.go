package store

import "tandem/internal/tandem"

// A start decodes every account, and most have a handful of texts and nothing else. accountReader reads
// those without reflection, a third of the cost of the start; what it is not sure of is left to the codec.
type accountReader struct {
	buf  []byte // what is left to read
	all  string // a copy of the whole, of which texts are parts: one allocation, not one for each
	bad  bool
	seen map[string]string // short texts that many accounts have in common: zone, group
}

// mostSeen bounds the texts remembered.
const mostSeen = 1024

// CBOR's major types as far as they are used here (RFC 8949 section 3.1).
const (
	cborUnsigned = 0
	cborText     = 3
	cborArray    = 4
	cborMap      = 5
)

// read decodes an account in the form in which the codec writes it: definite lengths, keys as small
// numbers that grow. It reports false for everything else, though that may well be an account.
func (r *accountReader) read(cbor []byte) (*tandem.Account, bool) {
	r.buf, r.all, r.bad = cbor, string(cbor), false
	a := new(tandem.Account)
	last := -1
	for n := r.head(cborMap); n > 0 && !r.bad; n-- {
		key := r.head(cborUnsigned)
		if key <= last {
			return nil, false
		}
		last = key
		switch key {
		case 1:
			a.ID = r.text()
		case 2:
			a.Name = r.text()
		case 3:
			a.Zone = r.shared()
		case 4:
			a.Labels = r.labels()
		case 5:
			a.Realm = r.text()
		case 6:
			a.Group = r.shared()
		case 7:
			a.Numbers = r.texts()
		case 8:
			a.TimeZone = r.shared()
		case 13:
			a.Registrar = tandem.RegistrarMode(r.shared())
		case 15:
			if r.head(cborMap) != 0 { // times of its own are rare
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return a, !r.bad && len(r.buf) == 0
}

// head reads the head of an item of one major type and returns its number, below 65536.
func (r *accountReader) head(major byte) int {
	if r.bad || len(r.buf) == 0 || r.buf[0]>>5 != major {
		r.bad = true
		return 0
	}
	n := int(r.buf[0] & 31)
	switch {
	case n < 24:
		r.buf = r.buf[1:]
		return n
	case n == 24 && len(r.buf) > 1:
		n, r.buf = int(r.buf[1]), r.buf[2:]
		return n
	case n == 25 && len(r.buf) > 2:
		n, r.buf = int(r.buf[1])<<8|int(r.buf[2]), r.buf[3:]
		return n
	}
	r.bad = true
	return 0
}

func (r *accountReader) octets() []byte {
	n := r.head(cborText)
	if r.bad || n > len(r.buf) {
		r.bad = true
		return nil
	}
	text := r.buf[:n]
	r.buf = r.buf[n:]
	return text
}

func (r *accountReader) text() string {
	n := len(r.octets())
	end := len(r.all) - len(r.buf)
	return r.all[end-n : end]
}

// shared is text, remembered.
func (r *accountReader) shared() string {
	octets := r.octets()
	if text, ok := r.seen[string(octets)]; ok {
		return text
	}
	text := string(octets)
	if r.seen == nil || len(r.seen) >= mostSeen {
		r.seen = make(map[string]string)
	}
	r.seen[text] = text
	return text
}

func (r *accountReader) texts() []string {
	n := r.count()
	all := make([]string, n)
	for i := range all {
		all[i] = r.text()
	}
	return all
}

// count reads the head of an array that can be there whole.
func (r *accountReader) count() int {
	n := r.head(cborArray)
	if n > len(r.buf) {
		r.bad = true
		return 0
	}
	return n
}

func (r *accountReader) labels() []tandem.Label {
	n := r.count()
	all := make([]tandem.Label, n)
	for i := range all {
		switch r.head(cborMap) {
		case 1:
			r.bad = r.bad || r.head(cborUnsigned) != 1
			all[i].Label = r.text()
		case 2:
			r.bad = r.bad || r.head(cborUnsigned) != 1
			all[i].Label = r.text()
			r.bad = r.bad || r.head(cborUnsigned) != 2
			all[i].Role = tandem.LabelRole(r.shared())
		default:
			r.bad = true
		}
	}
	return all
}
