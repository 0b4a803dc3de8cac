package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"sync"
)

// siv is AES-SIV-CMAC (RFC 5297) with two AES keys. It may be used by many at once.
type siv struct {
	mac, ctr cipher.Block
	k1, k2   [16]byte // CMAC's subkeys (RFC 4493 section 2.3)
	zero     [16]byte // CMAC of sixteen zero octets, where S2V begins
	scratch  sync.Pool
}

// block is working memory that lives on the heap, for a cipher's arguments escape to it.
type block struct{ x, d, t [16]byte }

// newSIV takes a key of 32 octets for AES-128, 64 for AES-256.
func newSIV(key []byte) (*siv, error) {
	mac, err := aes.NewCipher(key[:len(key)/2])
	if err != nil {
		return nil, err
	}
	ctr, err := aes.NewCipher(key[len(key)/2:])
	if err != nil {
		return nil, err
	}
	s := &siv{mac: mac, ctr: ctr}
	s.scratch.New = func() any { return new(block) }
	mac.Encrypt(s.k1[:], make([]byte, 16))
	double(&s.k1)
	s.k2 = s.k1
	double(&s.k2)
	var b block
	s.cmac(&b, make([]byte, 16), nil)
	s.zero = b.x
	return s, nil
}

// double multiplies by x in GF(2^128) (RFC 5297 section 2.3).
func double(b *[16]byte) {
	carry := b[0] >> 7
	for i := range 15 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[15] = b[15]<<1 ^ carry*0x87
}

func xor(dst *[16]byte, b []byte) { subtle.XORBytes(dst[:], dst[:], b) }

// cmac puts the CMAC of msg into b.x; the last 16 octets of msg are first combined with end, when
// it is not nil.
func (s *siv) cmac(b *block, msg []byte, end *[16]byte) {
	b.x = [16]byte{}
	tail := len(msg) - 16 // where end begins
	for at := 0; ; at += 16 {
		var chunk [16]byte
		n := copy(chunk[:], msg[at:])
		if end != nil {
			for i := range n {
				if at+i >= tail {
					chunk[i] ^= end[at+i-tail]
				}
			}
		}
		last := at+16 >= len(msg)
		switch {
		case last && n == 16:
			xor(&chunk, s.k1[:])
		case last:
			chunk[n] ^= 0x80
			xor(&chunk, s.k2[:])
		}
		xor(&b.x, chunk[:])
		s.mac.Encrypt(b.x[:], b.x[:])
		if last {
			return
		}
	}
}

// synthesise puts S2V of the components and the plaintext into b.x (RFC 5297 section 2.4).
func (s *siv) synthesise(b *block, components [][]byte, plain []byte) {
	b.d = s.zero
	for _, c := range components {
		double(&b.d)
		s.cmac(b, c, nil)
		xor(&b.d, b.x[:])
	}
	if len(plain) >= 16 {
		s.cmac(b, plain, &b.d)
		return
	}
	double(&b.d)
	padded := b.d
	subtle.XORBytes(padded[:], padded[:], plain)
	padded[len(plain)] ^= 0x80
	s.cmac(b, padded[:], nil)
}

// crypt encrypts or decrypts data in place with counter mode from iv (RFC 5297 section 2.5).
func (s *siv) crypt(b *block, data []byte, iv *[16]byte) {
	b.d = *iv
	b.d[8] &= 0x7f
	b.d[12] &= 0x7f
	for len(data) > 0 {
		s.ctr.Encrypt(b.t[:], b.d[:])
		n := subtle.XORBytes(data, data, b.t[:])
		data = data[n:]
		for i := 15; i >= 0; i-- {
			if b.d[i]++; b.d[i] != 0 {
				break
			}
		}
	}
}

// seal encrypts data in place and returns the synthetic IV.
func (s *siv) seal(components [][]byte, data []byte) [16]byte {
	b := s.scratch.Get().(*block)
	defer s.scratch.Put(b)
	s.synthesise(b, components, data)
	iv := b.x
	s.crypt(b, data, &iv)
	return iv
}

// decrypt undoes seal's encryption in place; nothing is proved by it yet.
func (s *siv) decrypt(iv *[16]byte, data []byte) {
	b := s.scratch.Get().(*block)
	s.crypt(b, data, iv)
	s.scratch.Put(b)
}

// proves reports whether iv is the synthetic IV of the components and the plaintext.
func (s *siv) proves(iv *[16]byte, components [][]byte, plain []byte) bool {
	b := s.scratch.Get().(*block)
	defer s.scratch.Put(b)
	s.synthesise(b, components, plain)
	return subtle.ConstantTimeCompare(b.x[:], iv[:]) == 1
}
