// Package tsig signs DNS messages with shared secrets and checks such signatures (RFC 8945), on the
// octets of messages.
//
// It promises that what it accepts was signed, whole, by a holder of the key and within the fudge;
// that a MAC is compared in constant time; that no octets make it panic. Cut MACs are refused with
// BADTRUNC, whatever their length: who shares a secret with us can send it whole. It keeps no record
// of times already seen, and leaves to its caller what a key may do.
package tsig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Errors of TSIG records, as their error field has them (RFC 8945 section 3).
const (
	NoError  = 0
	BadSig   = 16
	BadKey   = 17
	BadTime  = 18
	BadTrunc = 22
)

// Fudge is how many seconds the clocks of two parties may differ (RFC 8945 section 10).
const Fudge = 300

// ErrForm is a TSIG record whose octets are wrong; the message that has it is answered with FORMERR.
var ErrForm = errors.New("malformed TSIG record")

// Key is a secret with its name and algorithm. It is immutable, and never shows its secret.
type Key struct {
	name      string // in lower case, with trailing dot
	wire      string // the same in wire form
	algorithm string // in wire form
	size      int    // octets of a whole MAC
	hash      func() hash.Hash
	secret    []byte
}

// NewKey returns a key. The name is a domain name; algorithm is hmac-sha1, -sha224, -sha256, -sha384
// or -sha512, and "" is hmac-sha256.
func NewKey(name, algorithm string, secret []byte) (*Key, error) {
	k := &Key{name: dns.CanonicalName(name), secret: secret}
	switch strings.TrimSuffix(strings.ToLower(algorithm), ".") {
	case "hmac-sha1":
		k.hash, k.size = sha1.New, sha1.Size
	case "hmac-sha224":
		k.hash, k.size = sha256.New224, sha256.Size224
	case "", "hmac-sha256":
		algorithm, k.hash, k.size = "hmac-sha256", sha256.New, sha256.Size
	case "hmac-sha384":
		k.hash, k.size = sha512.New384, sha512.Size384
	case "hmac-sha512":
		k.hash, k.size = sha512.New, sha512.Size
	default:
		return nil, fmt.Errorf("algorithm %q is not one of hmac-sha1, -sha224, -sha256, -sha384, -sha512", algorithm)
	}
	var err error
	if k.wire, err = wireName(k.name); err != nil {
		return nil, fmt.Errorf("key name %q: %w", name, err)
	}
	k.algorithm, err = wireName(dns.CanonicalName(algorithm))
	return k, err
}

// Name returns the key's name in lower case, with a trailing dot.
func (k *Key) Name() string { return k.name }

// Size is how many octets a signature by k adds to a message.
func (k *Key) Size() int {
	return len(k.wire) + 10 + len(k.algorithm) + 16 + k.size + timeSize
}

func wireName(name string) (string, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Record is a TSIG record as a message carries it.
type Record struct {
	At         int    // offset of its owner: the signed message ends there
	Name       string // of the key, in lower-case wire form
	Algorithm  string // in lower-case wire form
	Time       uint64 // seconds since 1970, 48 bits
	Fudge      uint16 // seconds
	MAC        []byte
	OriginalID uint16
	Error      uint16
	Other      []byte
}

// Find returns the TSIG record that ends msg, nil when it has none. A message in which one stands
// elsewhere, or more than one, is ErrForm, and so is one that cannot be walked over.
func Find(msg []byte) (*Record, error) {
	if len(msg) < 12 {
		return nil, ErrForm
	}
	at := 12
	for range binary.BigEndian.Uint16(msg[4:]) {
		if at = skipName(msg, at); at < 0 || at+4 > len(msg) {
			return nil, ErrForm
		}
		at += 4
	}
	additional := int(binary.BigEndian.Uint16(msg[10:]))
	before := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	for i := range before + additional {
		owner := at
		if at = skipName(msg, at); at < 0 || at+10 > len(msg) {
			return nil, ErrForm
		}
		rrtype := binary.BigEndian.Uint16(msg[at:])
		if at += 10 + int(binary.BigEndian.Uint16(msg[at+8:])); at > len(msg) {
			return nil, ErrForm
		}
		if rrtype == dns.TypeTSIG {
			if i != before+additional-1 || i < before || at != len(msg) {
				return nil, ErrForm
			}
			return Parse(msg, owner)
		}
	}
	return nil, nil
}

// skipName returns the offset after the name at offset at, -1 when it does not end within msg.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		case n > 63:
			return -1
		default:
			at += n + 1
		}
	}
	return -1
}

// Parse reads the TSIG record at offset at of msg, which must end the message (RFC 8945 section 4.2).
func Parse(msg []byte, at int) (*Record, error) {
	r := &Record{At: at}
	name, end, err := dns.UnpackDomainName(msg, at)
	if err != nil || end+10 > len(msg) {
		return nil, ErrForm
	}
	if r.Name, err = wireName(dns.CanonicalName(name)); err != nil {
		return nil, ErrForm
	}
	class, ttl := binary.BigEndian.Uint16(msg[end+2:]), binary.BigEndian.Uint32(msg[end+4:])
	if class != dns.ClassANY || ttl != 0 || end+10+int(binary.BigEndian.Uint16(msg[end+8:])) != len(msg) {
		return nil, ErrForm
	}
	return r, r.parseData(msg, end+10)
}

// parseData reads what follows the fixed part of the record, up to the end of msg.
func (r *Record) parseData(msg []byte, at int) error {
	algorithm, at, err := dns.UnpackDomainName(msg, at)
	if err != nil || at+10 > len(msg) {
		return ErrForm
	}
	if r.Algorithm, err = wireName(dns.CanonicalName(algorithm)); err != nil {
		return ErrForm
	}
	data := msg[at:]
	r.Time = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	r.Fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	if data = data[10:]; len(data) < size+6 {
		return ErrForm
	}
	r.MAC, data = data[:size], data[size:]
	r.OriginalID, r.Error = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	if r.Other = data[6:]; len(r.Other) != int(binary.BigEndian.Uint16(data[4:])) {
		return ErrForm
	}
	return nil
}

// timeSize is what other data holds in an answer with BADTIME.
const timeSize = 6

func appendTime(b []byte, seconds uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(seconds>>32)), uint32(seconds))
}

// Verify checks that msg, which ends in r, was signed with k at about now. prior is the request's MAC
// when msg answers one. It returns the error that a TSIG record would name, NoError when all is well,
// in the order of RFC 8945 section 5.2: key, MAC, time, then what is cut. A MAC of a length that
// cannot be is ErrForm (section 5.2.2.1).
func (k *Key) Verify(msg []byte, r *Record, prior []byte, now time.Time) (int, error) {
	d := k.begin(prior)
	return d.check(msg, r, now, false)
}

// digest is a MAC in the making.
type digest struct {
	key *Key
	mac hash.Hash
}

// begin starts a MAC that chains to prior, if there is one.
func (k *Key) begin(prior []byte) digest {
	d := digest{key: k, mac: hmac.New(k.hash, k.secret)}
	if len(prior) > 0 {
		var size [2]byte
		binary.BigEndian.PutUint16(size[:], uint16(len(prior)))
		d.mac.Write(size[:])
		d.mac.Write(prior)
	}
	return d
}

// add takes in a message without its TSIG record, as it was before that was added.
func (d digest) add(msg []byte, id uint16, records int) {
	var head [12]byte
	copy(head[:], msg)
	binary.BigEndian.PutUint16(head[:], id)
	binary.BigEndian.PutUint16(head[10:], uint16(records))
	d.mac.Write(head[:])
	d.mac.Write(msg[12:])
}

// variables takes in the record itself: all of it, or its times alone (RFC 8945 section 5.3.1).
func (d digest) variables(r *Record, timers bool) {
	var b []byte
	if !timers {
		b = append(b, r.Name...)
		b = binary.BigEndian.AppendUint16(b, dns.ClassANY)
		b = binary.BigEndian.AppendUint32(b, 0)
		b = append(b, r.Algorithm...)
	}
	b = binary.BigEndian.AppendUint16(appendTime(b, r.Time), r.Fudge)
	if !timers {
		b = binary.BigEndian.AppendUint16(b, r.Error)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Other)))
		b = append(b, r.Other...)
	}
	d.mac.Write(b)
}

// check ends the MAC with msg and r, and compares.
func (d digest) check(msg []byte, r *Record, now time.Time, timers bool) (int, error) {
	k := d.key
	if r.Name != k.wire || r.Algorithm != k.algorithm {
		return BadKey, nil
	}
	if len(r.MAC) > k.size || len(r.MAC) < max(10, k.size/2) {
		return BadSig, ErrForm
	}
	d.add(msg[:r.At], r.OriginalID, int(binary.BigEndian.Uint16(msg[10:]))-1)
	d.variables(r, timers)
	if !hmac.Equal(d.mac.Sum(nil)[:len(r.MAC)], r.MAC) {
		return BadSig, nil
	}
	seconds := uint64(now.Unix())
	if seconds > r.Time+uint64(r.Fudge) || seconds+uint64(r.Fudge) < r.Time {
		return BadTime, nil
	}
	if len(r.MAC) < k.size {
		return BadTrunc, nil
	}
	return NoError, nil
}

// Append signs msg with k, chained to prior, and returns it with the TSIG record and the new MAC. With
// BADTIME it says when the request was signed, and in other data what time it is here.
func (k *Key) Append(msg, prior []byte, now time.Time, code int, requested uint64) (signed, mac []byte) {
	r := k.record(msg, now)
	if r.Error = uint16(code); code == BadTime {
		r.Time, r.Other = requested, appendTime(nil, r.Time)
	}
	return k.begin(prior).sign(msg, r, false)
}

func (k *Key) record(msg []byte, now time.Time) *Record {
	return &Record{
		Name: k.wire, Algorithm: k.algorithm, Time: uint64(now.Unix()), Fudge: Fudge,
		OriginalID: binary.BigEndian.Uint16(msg),
	}
}

// sign ends the MAC with msg and r, and appends r.
func (d digest) sign(msg []byte, r *Record, timers bool) (signed, mac []byte) {
	d.add(msg, r.OriginalID, int(binary.BigEndian.Uint16(msg[10:])))
	d.variables(r, timers)
	r.MAC = d.mac.Sum(nil)
	return r.append(msg), r.MAC
}

// append adds r to msg and counts it.
func (r *Record) append(msg []byte) []byte {
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	msg = append(msg, r.Name...)
	msg = binary.BigEndian.AppendUint16(msg, dns.TypeTSIG)
	msg = binary.BigEndian.AppendUint16(msg, dns.ClassANY)
	msg = binary.BigEndian.AppendUint32(msg, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.Algorithm)+16+len(r.MAC)+len(r.Other)))
	msg = append(msg, r.Algorithm...)
	msg = binary.BigEndian.AppendUint16(appendTime(msg, r.Time), r.Fudge)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.MAC)))
	msg = append(msg, r.MAC...)
	msg = binary.BigEndian.AppendUint16(msg, r.OriginalID)
	msg = binary.BigEndian.AppendUint16(msg, r.Error)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.Other)))
	return append(msg, r.Other...)
}

// AppendUnsigned adds to msg the record that refuses request r with BADKEY or BADSIG: without a MAC,
// for there is no key to make one with (RFC 8945 section 5.3.2).
func (r *Record) AppendUnsigned(msg []byte, code int) []byte {
	u := Record{Name: r.Name, Algorithm: r.Algorithm, Time: r.Time, Fudge: r.Fudge, OriginalID: binary.BigEndian.Uint16(msg), Error: uint16(code)}
	return u.append(msg)
}

// UnsignedSize is how many octets AppendUnsigned adds.
func (r *Record) UnsignedSize() int { return len(r.Name) + 10 + len(r.Algorithm) + 16 }
