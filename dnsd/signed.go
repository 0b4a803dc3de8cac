package dnsd

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/tsig"
	"tandem/internal/tandem"
)

// signer is a key that messages are signed with, and whose it is.
type signer struct {
	*tsig.Key
	id      string
	account string // "": the operator's
}

// applyTSIGKey puts or, with k nil, removes a key. One that cannot be opened is as good as none.
func (w *writer) applyTSIGKey(id string, k *tandem.TSIGKey) {
	name, err := wireKey(id)
	if err != nil {
		return // was refused when it was applied
	}
	w.signers.Delete(name)
	if k == nil || w.seal == nil {
		return
	}
	secret, err := w.seal.Unseal(k.Sealed, k.SealContext())
	if err != nil {
		w.log.Error("TSIG key cannot be opened; messages signed with it are refused", "key", id, "err", err)
		return
	}
	key, err := tsig.NewKey(id, k.Algorithm, secret)
	if err != nil {
		w.log.Error("TSIG key cannot be used; messages signed with it are refused", "key", id, "err", err)
		return
	}
	w.signers.Store(name, &signer{Key: key, id: id, account: k.Account})
}

// signerOf returns the key with this id, nil when there is none.
func (m *model) signerOf(id string) *signer {
	name, err := wireKey(id)
	if err != nil || id == "" {
		return nil
	}
	if found, ok := m.signers.Load(name); ok {
		return found.(*signer)
	}
	return nil
}

// signature is the TSIG record of a request, and what came of it. The zero value is a request that
// was not signed.
type signature struct {
	record *tsig.Record
	key    *signer // nil for a key that we do not have
	code   int     // TSIG error
	now    time.Time
}

// take notes the TSIG record r, and reports whether it is well formed.
func (s *signature) take(in []byte, r record) (ok bool) {
	var err error
	s.record, err = tsig.Parse(in, r.at)
	if err != nil {
		s.record = nil
	}
	return err == nil
}

// authenticate checks q's signature, if it has one, and returns the rcode to answer with: rcode when
// nothing is wrong with the signature (RFC 8945 section 5.2).
func (m *model) authenticate(q *query, in []byte, rcode int) int {
	s := &q.signature
	if s.record == nil {
		return rcode
	}
	if rcode == dns.RcodeFormatError {
		s.record = nil
		return rcode
	}
	s.now, s.code = m.now(), tsig.BadKey
	found, ok := m.signers.Load(s.record.Name)
	if !ok {
		return dns.RcodeNotAuth
	}
	key := found.(*signer)
	var err error
	if s.code, err = key.Verify(in, s.record, nil, s.now); err != nil {
		s.record = nil
		return dns.RcodeFormatError
	}
	if s.code != tsig.BadKey {
		s.key = key
	}
	if s.code != tsig.NoError {
		return dns.RcodeNotAuth
	}
	return rcode
}

// by returns who signed the request; nil when nobody did, or nobody that is proven.
func (s *signature) by() *signer {
	if s.record == nil || s.code != tsig.NoError {
		return nil
	}
	return s.key
}

// unsigned reports whether the answer tells of a signature without having one.
func (s *signature) unsigned() bool { return s.code == tsig.BadKey || s.code == tsig.BadSig }

// size is what the answer's TSIG record takes.
func (s *signature) size() int {
	switch {
	case s.record == nil:
		return 0
	case s.unsigned():
		return s.record.UnsignedSize()
	}
	return s.key.Size()
}

// append adds to the answer msg the TSIG record that belongs there.
func (s *signature) append(msg []byte) []byte {
	switch {
	case s.record == nil:
		return msg
	case s.unsigned():
		return s.record.AppendUnsigned(msg, s.code)
	}
	signed, _ := s.key.Append(msg, s.record.MAC, s.now, s.code, s.record.Time)
	return signed
}

// takeSerial notes the serial of the SOA that comes along: with IXFR in authority, with NOTIFY in the
// answer section (RFC 1995 section 3, RFC 1996 section 3.7).
func (q *query) takeSerial(in []byte, o sections) {
	for i, r := range o.records {
		wanted := i < o.answers
		if q.opcode == dns.OpcodeQuery {
			wanted = i >= o.answers && i < o.answers+o.authority
		}
		if !wanted || r.rrtype != dns.TypeSOA || len(r.data) < 22 {
			continue
		}
		q.told, q.has = binary.BigEndian.Uint32(r.data[len(r.data)-20:]), true
	}
}
