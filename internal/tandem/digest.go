package tandem

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
)

// DigestAlgorithm is a digest algorithm's token as it stands in a challenge (RFC 7616, RFC 8760).
type DigestAlgorithm string

// Digest algorithms, strongest first.
const (
	SHA512_256 DigestAlgorithm = "SHA-512-256"
	SHA256     DigestAlgorithm = "SHA-256"
	MD5        DigestAlgorithm = "MD5"
)

// New returns the algorithm's hash, or nil for an unknown one.
func (a DigestAlgorithm) New() hash.Hash {
	switch a {
	case SHA512_256:
		return sha512.New512_256()
	case SHA256:
		return sha256.New()
	case MD5:
		return md5.New()
	}
	return nil
}

// Of returns the hash that h holds for algorithm a, "" when it holds none.
func (h HA1) Of(a DigestAlgorithm) string {
	switch a {
	case SHA512_256:
		return h.SHA512_256
	case SHA256:
		return h.SHA256
	case MD5:
		return h.MD5
	}
	return ""
}

// NewHA1 returns the hashes of user:realm:secret for the listed algorithms (RFC 7616 section 3.4.2).
func NewHA1(user, realm, secret string, algorithms []DigestAlgorithm) HA1 {
	var h HA1
	for _, a := range algorithms {
		sum := a.New()
		if sum == nil {
			continue
		}
		sum.Write([]byte(user + ":" + realm + ":" + secret))
		text := hex.EncodeToString(sum.Sum(nil))
		switch a {
		case SHA512_256:
			h.SHA512_256 = text
		case SHA256:
			h.SHA256 = text
		case MD5:
			h.MD5 = text
		}
	}
	return h
}

// DigestOffer returns the algorithms that the account offers, strongest first.
func (a *Account) DigestOffer() []DigestAlgorithm {
	if len(a.Digest) > 0 {
		return a.Digest
	}
	return []DigestAlgorithm{SHA256, MD5}
}

// KeptHA1 lists the hashes that are kept for a's devices: SHA-512/256 and SHA-256 always, MD5 only
// where the account offers it.
func (a *Account) KeptHA1() []DigestAlgorithm {
	kept := []DigestAlgorithm{SHA512_256, SHA256}
	for _, alg := range a.DigestOffer() {
		if alg == MD5 {
			kept = append(kept, MD5)
		}
	}
	return kept
}
