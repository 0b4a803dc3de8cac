package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/dns"

	"tandem/internal/tandem"
)

// Flags of DNSKEY records (RFC 4034 section 2.1.1).
const (
	FlagsZone = 256 // signs zones
	FlagsSEP  = 257 // and is what a DS points to
)

// What a key signs.
const (
	SignsKeys = "keys" // KSK: the sets that hold keys
	SignsZone = "zone" // ZSK: all others
	SignsBoth = "both" // CSK
)

// SignatureSize is the size of signatures of both algorithms, in octets.
const SignatureSize = 64

// Signature is the signature field of an RRSIG record.
type Signature [SignatureSize]byte

// Key is a key that can sign.
type Key struct {
	Object *tandem.ZoneKey
	DNSKEY *dns.DNSKEY // owner is the apex, TTL the one it was given
	Tag    uint16
	// ID stands for the key in marks; the tag is too short.
	ID uint64

	apex   string // wire form
	curve  *ecdsa.PrivateKey
	edward ed25519.PrivateKey
}

// Algorithm returns the number of an algorithm by its name in zone settings, ECDSAP256SHA256 for "".
func Algorithm(name string) (uint8, bool) {
	switch name {
	case "", "ECDSAP256SHA256":
		return dns.ECDSAP256SHA256, true
	case "ED25519":
		return dns.ED25519, true
	}
	return 0, false
}

// Generate makes a key pair: the public key as DNSKEY holds it, the private one as an octet string
// of 32: RFC 6605 section 4's private value, RFC 8080's seed.
func Generate(algorithm uint8) (public, private []byte, err error) {
	switch algorithm {
	case dns.ECDSAP256SHA256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if private, err = k.Bytes(); err != nil {
			return nil, nil, err
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, nil, err
		}
		return point[1:], private, nil // without the mark of an uncompressed point
	case dns.ED25519:
		pub, k, err := ed25519.GenerateKey(rand.Reader)
		return pub, k.Seed(), err
	}
	return nil, nil, fmt.Errorf("algorithm %d is not 13 or 15", algorithm)
}

// NewKey returns the key that x describes, with its private part, at apex (wire form, lower case).
func NewKey(x *tandem.ZoneKey, private []byte, apex string, ttl uint32) (*Key, error) {
	name, _, err := dns.UnpackDomainName([]byte(apex), 0)
	if err != nil {
		return nil, err
	}
	k := &Key{Object: x, apex: apex, DNSKEY: PublicOf(name, x)}
	k.DNSKEY.Hdr.Ttl = ttl
	k.Tag = k.DNSKEY.KeyTag()
	sum := sha256.Sum256(x.Public)
	k.ID = binary.BigEndian.Uint64(sum[:])
	switch x.Algorithm {
	case dns.ECDSAP256SHA256:
		k.curve, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), private)
		if err != nil {
			return nil, err
		}
		if point, err := k.curve.PublicKey.Bytes(); err != nil || string(point[1:]) != string(x.Public) {
			return nil, errors.New("public and private key do not belong together")
		}
	case dns.ED25519:
		if len(private) != ed25519.SeedSize {
			return nil, fmt.Errorf("private key has %d octets, want %d", len(private), ed25519.SeedSize)
		}
		k.edward = ed25519.NewKeyFromSeed(private)
		if string(k.edward.Public().(ed25519.PublicKey)) != string(x.Public) {
			return nil, errors.New("public and private key do not belong together")
		}
	default:
		return nil, fmt.Errorf("algorithm %d is not 13 or 15", x.Algorithm)
	}
	return k, nil
}

// Head returns the RDATA of an RRSIG record up to the signature, signer's name included.
func (k *Key) Head(b []byte, covered uint16, labels uint8, ttl uint32, t Times) []byte {
	b = binary.BigEndian.AppendUint16(b, covered)
	b = append(b, k.Object.Algorithm, labels)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint32(b, t.Expiration)
	b = binary.BigEndian.AppendUint32(b, t.Inception)
	b = binary.BigEndian.AppendUint16(b, k.Tag)
	return append(b, k.apex...)
}

// Sign signs s for the given times.
func (k *Key) Sign(s *Set, t Times) (Signature, error) {
	var sig Signature
	octets := s.octets(k.Head(nil, s.Type, Labels(s.Owner), s.TTL, t))
	if k.edward != nil {
		copy(sig[:], ed25519.Sign(k.edward, octets))
		return sig, nil
	}
	sum := sha256.Sum256(octets)
	der, err := k.curve.Sign(nil, sum[:], crypto.SHA256) // without randomness: RFC 6979
	if err != nil {
		return sig, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return sig, err
	}
	pair.R.FillBytes(sig[:32])
	pair.S.FillBytes(sig[32:])
	return sig, nil
}

// Record returns sig as a record beside s at owner, in text form, with the TTL that s is shown with.
func (k *Key) Record(s *Set, t Times, sig Signature, owner string, ttl uint32) *dns.RRSIG {
	return &dns.RRSIG{
		Hdr:         dns.RR_Header{Name: owner, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: ttl},
		TypeCovered: s.Type, Algorithm: k.Object.Algorithm, Labels: Labels(s.Owner), OrigTtl: s.TTL,
		Expiration: t.Expiration, Inception: t.Inception, KeyTag: k.Tag, SignerName: k.DNSKEY.Hdr.Name,
		Signature: base64.StdEncoding.EncodeToString(sig[:]),
	}
}
