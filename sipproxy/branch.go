package sipproxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"tandem/sipproxy/wire"
)

// cookie begins every branch of RFC 3261 (section 8.1.1.7).
const cookie = "z9hG4bK"

// branchKey proves our branches: whoever answers must have got the request from us. It lives as
// long as the process, like the transactions that it guards.
type branchKey [32]byte

func newBranchKey() (k branchKey) {
	rand.Read(k[:])
	return k
}

// branch is what our Via branches carry: the client transaction, and a hash of what decided the
// request's way (RFC 3261 section 16.6 step 8).
type branch struct {
	id   uint64
	loop uint64
}

// text writes b as a branch parameter, sealed to one request by Call-ID and CSeq number, which every
// answer repeats.
func (k *branchKey) text(b branch, callID string, cseq uint32) string {
	var raw [24]byte
	binary.BigEndian.PutUint64(raw[:], b.id)
	binary.BigEndian.PutUint64(raw[8:], b.loop)
	binary.BigEndian.PutUint64(raw[16:], k.mac(raw[:16], callID, cseq))
	return cookie + base64.RawURLEncoding.EncodeToString(raw[:])
}

// open reads one of our branches; false when it is not ours or not for this request.
func (k *branchKey) open(text, callID string, cseq uint32) (branch, bool) {
	var raw [24]byte
	enc, ok := strings.CutPrefix(text, cookie)
	if !ok || len(enc) != 32 {
		return branch{}, false
	}
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(enc)); err != nil || n != len(raw) {
		return branch{}, false
	}
	if binary.BigEndian.Uint64(raw[16:]) != k.mac(raw[:16], callID, cseq) {
		return branch{}, false
	}
	return branch{binary.BigEndian.Uint64(raw[:]), binary.BigEndian.Uint64(raw[8:])}, true
}

func (k *branchKey) mac(head []byte, callID string, cseq uint32) uint64 {
	var room [320]byte
	b := append(room[:0], k[:]...)
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
	b := append(room[:0], k[:]...)
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
	b := append(room[:0], k[:]...)
	b = append(append(b, m.CallID...), 0)
	b = append(append(b, m.From.Tag...), 0)
	b = append(b, m.Via.Branch...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
