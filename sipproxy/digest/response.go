package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"

	"tandem/internal/tandem"
)

// maxHex is the length of the longest hash in hex.
const maxHex = 64

// hexLen returns the length of an algorithm's hashes in hex.
func hexLen(a tandem.DigestAlgorithm) int {
	if a == tandem.MD5 {
		return 32
	}
	return 64
}

// appendHash appends the hash of data in lower-case hex.
func appendHash(dst []byte, a tandem.DigestAlgorithm, data []byte) []byte {
	switch a {
	case tandem.MD5:
		sum := md5.Sum(data)
		return hex.AppendEncode(dst, sum[:])
	case tandem.SHA512_256:
		sum := sha512.Sum512_256(data)
		return hex.AppendEncode(dst, sum[:])
	}
	sum := sha256.Sum256(data)
	return hex.AppendEncode(dst, sum[:])
}

// appendResponse appends the response that c should hold, given HA1 in hex (RFC 7616 section 3.4.1;
// without qop RFC 2069 section 2.4).
func appendResponse(dst []byte, c *Credentials, method string, ha1 []byte) []byte {
	var room [640]byte
	b := append(room[:0], method...)
	b = append(append(b, ':'), c.URI...)
	var ha2 [maxHex]byte
	a2 := appendHash(ha2[:0], c.Algorithm, b)
	b = append(append(b[:0], ha1...), ':')
	b = append(append(b, c.Nonce...), ':')
	if c.QOP != "" {
		b = append(append(b, c.nc...), ':')
		b = append(append(b, c.CNonce...), ':')
		b = append(append(b, c.QOP...), ':')
	}
	return appendHash(dst, c.Algorithm, append(b, a2...))
}

// appendLower appends a response in lower case, as hex is hashed and compared.
func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'F' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
