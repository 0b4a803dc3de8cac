package dnsd

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-immutable-radix/v2"
	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// keyring holds the TSIG keys by name in wire form. Any number may read while one goroutine writes.
type keyring struct {
	keys atomic.Pointer[iradix.Tree[*tsigKey]]
}

// tsigKey is one secret, opened.
type tsigKey struct {
	name      string // without trailing dot
	account   string // whose key it is, "" for the operator's
	algorithm string // as on the wire
	secret    string // base64
}

// get returns the key with a name in any form, nil for none.
func (r *keyring) get(name string) *tsigKey {
	keys := r.keys.Load()
	key, err := wireKey(name)
	if keys == nil || err != nil {
		return nil
	}
	k, _ := keys.Get([]byte(key))
	return k
}

// put sets or, with k nil, removes the key with a name.
func (r *keyring) put(name string, k *tsigKey) {
	key, err := wireKey(name)
	if err != nil {
		return
	}
	keys := r.keys.Load()
	if keys == nil {
		keys = iradix.New[*tsigKey]()
	}
	if k == nil {
		keys, _, _ = keys.Delete([]byte(key))
	} else {
		keys, _, _ = keys.Insert([]byte(key), k)
	}
	r.keys.Store(keys)
}

// applyKey puts or, with k nil, removes a TSIG key.
func (w *writer) applyKey(id string, k *tandem.TSIGKey) {
	if k == nil || w.seal == nil {
		w.keyring.put(id, nil)
		return
	}
	secret, err := w.seal.Unseal(k.Sealed, k.SealContext())
	if err != nil {
		w.log.Error("TSIG key cannot be opened", "key", id, "err", err)
		w.keyring.put(id, nil)
		return
	}
	algorithm := k.Algorithm
	if algorithm == "" {
		algorithm = "hmac-sha256"
	}
	w.keyring.put(id, &tsigKey{name: id, account: k.Account, algorithm: algorithm + ".", secret: base64.StdEncoding.EncodeToString(secret)})
}

// signature is a message's TSIG record, verified.
type signature struct {
	key  *tsigKey
	tsig *dns.TSIG
	at   int // where the record begins
}

// verify returns the signature of a message that a key of ours has signed.
func (s *Server) verify(in []byte) (sig signature, ok bool) {
	if len(in) < headerSize || in[10]|in[11] == 0 {
		return sig, false
	}
	o, whole := outline(in)
	if !whole || len(o.records) == 0 || o.records[len(o.records)-1].rrtype != dns.TypeTSIG {
		return sig, false
	}
	sig.at = o.records[len(o.records)-1].at
	rr, _, err := dns.UnpackRR(in, sig.at)
	if sig.tsig, ok = rr.(*dns.TSIG); err != nil || !ok {
		return sig, false
	}
	sig.key = s.model.keyring.get(sig.tsig.Hdr.Name)
	if sig.key == nil || !strings.EqualFold(sig.key.algorithm, sig.tsig.Algorithm) {
		return sig, false
	}
	return sig, dns.TsigVerify(slices.Clone(in), sig.key.secret, "", false) == nil // it counts ARCOUNT down in its copy
}

// signed answers a message that is signed with a key of ours, and signs the answer; done is false for
// all others.
func (s *Server) signed(in, out []byte, c client) (n int, done bool) {
	sig, ok := s.verify(in)
	if !ok {
		return 0, false
	}
	bare := slices.Clone(in[:sig.at])
	binary.BigEndian.PutUint16(bare[10:], binary.BigEndian.Uint16(bare[10:])-1)
	c.key = sig.key
	if n = s.full(bare, out, c); n == 0 {
		return 0, true
	}
	msg := new(dns.Msg)
	if msg.Unpack(out[:n]) != nil {
		return n, true
	}
	msg.Compress = true
	msg.SetTsig(sig.tsig.Hdr.Name, sig.tsig.Algorithm, 300, time.Now().Unix())
	b, _, err := dns.TsigGenerate(msg, sig.key.secret, sig.tsig.MAC, false)
	if err != nil || len(b) > len(out) {
		return n, true
	}
	return copy(out, b), true
}

// full answers what the fast path does not.
func (s *Server) full(in, out []byte, c client) int {
	if c.key == nil {
		if n, done := s.signed(in, out, c); done {
			return n
		}
	}
	if isUpdate(in) {
		return s.update(in, out, c)
	}
	return s.model.full(in, out, c)
}
