package guard

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// Sizes of cookies in octets (RFC 7873 section 4, RFC 9018 section 4).
const (
	ClientSize = 8
	CookieSize = 24 // client cookie and our server cookie
)

// How old a server cookie may be, and how far in the future, in seconds (RFC 9018 section 4.3).
const (
	cookieAge   = 3600
	cookieAhead = 300
)

// WellFormed reports whether a COOKIE option may have n octets of data (RFC 7873 section 4).
func WellFormed(n int) bool { return n == ClientSize || n >= 16 && n <= 40 }

// Secret makes server cookies. Servers behind one address share theirs.
type Secret [16]byte

// Jar makes server cookies and knows them again. It may be used by all at once.
type Jar struct {
	secrets atomic.Pointer[[]Secret]
}

// NewJar returns a jar with a secret that nobody knows.
func NewJar() *Jar {
	j := new(Jar)
	var s Secret
	rand.Read(s[:])
	j.Use(s)
	return j
}

// Use has the jar make cookies with current, and take those made with current or accepted. To
// change a secret that several servers share (RFC 9018 section 5): accept the new one everywhere, then use
// it everywhere and accept the old one, and after an hour and five minutes forget that.
func (j *Jar) Use(current Secret, accepted ...Secret) {
	all := append([]Secret{current}, accepted...)
	j.secrets.Store(&all)
}

// Valid reports whether data, of a COOKIE option that client sent, has a server cookie of ours that is
// neither too old nor from the future, now being seconds since 1970.
func (j *Jar) Valid(data []byte, client netip.Addr, now uint32) bool {
	if len(data) != CookieSize || data[8] != 1 {
		return false
	}
	// RFC 1982 arithmetic: the seconds wrap in 2106.
	if age := int32(now - binary.BigEndian.Uint32(data[12:])); age > cookieAge || age < -cookieAhead {
		return false
	}
	want := binary.LittleEndian.Uint64(data[16:])
	for i := range *j.secrets.Load() {
		// Compared at once, in constant time.
		if bake(&(*j.secrets.Load())[i], data[:16], client) == want {
			return true
		}
	}
	return false
}

// Put writes into out, CookieSize long, the data of the COOKIE option that answers one with these
// data from client, at now: its client cookie and a fresh server cookie.
func (j *Jar) Put(out, data []byte, client netip.Addr, now uint32) {
	copy(out[:ClientSize], data)
	out[8], out[9], out[10], out[11] = 1, 0, 0, 0 // version, reserved
	binary.BigEndian.PutUint32(out[12:], now)
	binary.LittleEndian.PutUint64(out[16:], bake(&(*j.secrets.Load())[0], out[:16], client))
}

// bake hashes client cookie, version, reserved octets, time and address (RFC 9018 section 4.4).
func bake(s *Secret, head []byte, client netip.Addr) uint64 {
	var message [32]byte
	n := copy(message[:], head[:16])
	if client.Is4() {
		a := client.As4()
		n += copy(message[n:], a[:])
	} else {
		a := client.As16()
		n += copy(message[n:], a[:])
	}
	return sipHash((*[16]byte)(s), message[:n])
}
