package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sealVersion is the first octet of everything sealed: AES-256-GCM with the node key.
const sealVersion byte = 1

// keyring seals with the node key.
type keyring struct {
	aead cipher.AEAD
	sum  [sha256.Size]byte // of the key, which is too long to be guessed from it
}

func keyringOf(key []byte) (keyring, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return keyring{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return keyring{aead, sha256.Sum256(key)}, err
}

// openKeyring reads the node key, or makes one for a fresh store.
func openKeyring(dir string, fresh bool) (keyring, error) {
	name := filepath.Join(dir, keyName)
	if fresh {
		return makeKey(name)
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return keyring{}, fmt.Errorf("%w: %s: the node key %s is missing, and what it sealed cannot be read without it; put it back from a backup", ErrCorrupt, dir, keyName)
	}
	if err != nil {
		return keyring{}, fmt.Errorf("open store %s: %w", dir, err)
	}
	key, err := hex.DecodeString(strings.TrimSuffix(string(text), "\n"))
	if err != nil || len(key) != 32 {
		return keyring{}, fmt.Errorf("%w: %s: the node key %s is not 64 hex digits; put it back from a backup", ErrCorrupt, dir, keyName)
	}
	return keyringOf(key)
}

func makeKey(name string) (keyring, error) {
	key := make([]byte, 32)
	rand.Read(key)
	if err := writeFile(name, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return keyring{}, fmt.Errorf("make node key: %w", err)
	}
	return keyringOf(key)
}

// Seal encrypts a secret with the node key. The same context must be given to Unseal, so that one
// object's secret put in another's place is noticed: name the object and the field.
func (s *Store) Seal(plain []byte, context string) ([]byte, error) {
	return s.keys.seal(plain, context)
}

// Unseal is the inverse of Seal. The error says nothing of what was sealed.
func (s *Store) Unseal(sealed []byte, context string) ([]byte, error) {
	return s.keys.unseal(sealed, context)
}

func (k keyring) seal(plain []byte, context string) ([]byte, error) {
	return k.aead.Seal([]byte{sealVersion}, nil, plain, []byte(context)), nil
}

func (k keyring) unseal(sealed []byte, context string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, fmt.Errorf("unseal %s: unknown form", context)
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], []byte(context))
	if err != nil {
		return nil, fmt.Errorf("unseal %s: sealed with another key, for another context, or damaged", context)
	}
	return plain, nil
}
