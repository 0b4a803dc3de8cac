package sipproxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/token"
	"tandem/sipproxy/wire"
)

// cookie begins every branch of RFC 3261 (section 8.1.1.7).
const cookie = "z9hG4bK"

// branchKey proves our branches: whoever answers must have got the request from us. Branches are
// sealed with the key of the tokens, which outlives the process: an answer to a call that rang when
// we were started again still finds its way. own serves while there is none, and for hashes that
// nobody needs to know later.
type branchKey struct {
	own  [32]byte
	ring *token.Ring
}

func newBranchKey(ring *token.Ring) branchKey {
	k := branchKey{ring: ring}
	rand.Read(k.own[:])
	return k
}

// branch is what our Via branches carry: the client transaction, a hash of what decided the
// request's way (RFC 3261 section 16.6 step 8), and where responses go when the transaction is gone. That is
// never taken from the Via below ours: whoever answers could write anybody's address there.
type branch struct {
	id   uint64
	loop uint64
	back hop
}

// text writes b as a branch parameter, sealed to one request by Call-ID and CSeq number, which every
// answer repeats:
//
//	key number, transport, listener (1 octet each), id, loop (8 each), address (4 or 16), port (2), MAC (8); base64url
func (k *branchKey) text(now time.Time, b branch, callID string, cseq uint32) string {
	number, secret := k.ring.Signing(now)
	if secret == nil {
		secret = k.own[:]
	}
	var room [64]byte
	raw := append(room[:0], number, byte(b.back.transport), b.back.listener)
	raw = binary.BigEndian.AppendUint64(raw, b.id)
	raw = binary.BigEndian.AppendUint64(raw, b.loop)
	raw = append(raw, b.back.remote.Addr().Unmap().AsSlice()...)
	raw = binary.BigEndian.AppendUint16(raw, b.back.remote.Port())
	raw = binary.BigEndian.AppendUint64(raw, branchMAC(secret, raw, callID, cseq))
	return cookie + base64.RawURLEncoding.EncodeToString(raw)
}

// Octets of a branch, but for the address.
const branchHead, branchTail = 3 + 8 + 8, 2 + 8

// open reads one of our branches; false when it is not ours or not for this request.
func (k *branchKey) open(now time.Time, text, callID string, cseq uint32) (branch, bool) {
	var room [branchHead + 16 + branchTail]byte
	enc, ok := strings.CutPrefix(text, cookie)
	size := base64.RawURLEncoding.DecodedLen(len(enc))
	if !ok || size != branchHead+4+branchTail && size != len(room) {
		return branch{}, false
	}
	raw := room[:size]
	if n, err := base64.RawURLEncoding.Strict().Decode(raw, []byte(enc)); err != nil || n != size {
		return branch{}, false
	}
	head, mac := raw[:size-8], binary.BigEndian.Uint64(raw[size-8:])
	secret := k.ring.Lookup(raw[0], now)
	if (secret == nil || branchMAC(secret, head, callID, cseq) != mac) && branchMAC(k.own[:], head, callID, cseq) != mac {
		return branch{}, false
	}
	addr, _ := netip.AddrFromSlice(raw[branchHead : size-branchTail])
	back := hop{transport: tandem.Transport(raw[1]), listener: raw[2], flow: true,
		remote: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(raw[size-branchTail:]))}
	return branch{binary.BigEndian.Uint64(raw[3:]), binary.BigEndian.Uint64(raw[11:]), back}, true
}

func branchMAC(secret, head []byte, callID string, cseq uint32) uint64 {
	var room [320]byte
	b := append(room[:0], "branch\x00"...)
	b = append(b, secret...)
	b = append(b, head...)
	b = binary.BigEndian.AppendUint32(b, cseq)
	b = append(b, callID...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// loopHash covers what decides a request's way here: the same request that comes again with the same
// hash goes round in circles (RFC 3261 section 16.3 step 4). Who sent it counts too: a feature server that
// is a proxy sends the same request back, and it then takes another way.
func (k *branchKey) loopHash(m *wire.Message, peer string) uint64 {
	var room [1024]byte
	b := append(room[:0], k.own[:]...)
	for _, s := range [...]string{peer, m.URI, m.From.Tag, m.To.Tag, m.CallID, m.CSeqMethod} {
		b = append(append(b, s...), 0)
	}
	b = binary.BigEndian.AppendUint32(b, m.CSeq)
	for i := range m.Headers {
		switch m.Headers[i].Name {
		case wire.NameRoute, wire.NameProxyRequire, wire.NameProxyAuthorization:
			b = append(append(b, m.Headers[i].Value...), 0)
		}
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// tag makes the To tag of an answer of ours. It needs no memory: the same request gets the same tag,
// so that the ACK to an answer sent without state can be known.
func (k *branchKey) tag(m *wire.Message) string {
	var room [512]byte
	b := append(room[:0], k.own[:]...)
	b = append(append(b, m.CallID...), 0)
	b = append(append(b, m.From.Tag...), 0)
	b = append(b, m.Via.Branch...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
