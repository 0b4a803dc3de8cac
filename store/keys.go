package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// Tables: the first byte of every key. Numbers and letters are part of the format.
const (
	tableMeta    byte = 'm'
	tableObject  byte = 'o'
	tableOwner   byte = 'w'
	tableRef     byte = 'r'
	tableClaim   byte = 'c'
	tableLog     byte = 'l'
	tableBinding byte = 'b'

	tableZoneData byte = 'z'

	tableCall      byte = 'k'
	tableCallOwner byte = 'a'
	tableCallOpen  byte = 'p'
	tableCallEvent byte = 'e'
)

// objectKey names an object: what a document calls kind and id.
type objectKey struct {
	kind tandem.Kind
	id   string
}

func (k objectKey) String() string { return string(k.kind) + " " + k.id }

// kindTable lists the kinds by their bytes in keys; a number is never given to another kind.
func kindTable() [20]tandem.Kind {
	return [...]tandem.Kind{
		"", tandem.KindZone, tandem.KindCluster, tandem.KindNode, tandem.KindEdge, tandem.KindGroup,
		tandem.KindAccount, tandem.KindPeer, tandem.KindUser, tandem.KindDevice, tandem.KindPermit, tandem.KindKey,
		tandem.KindAssignment, tandem.KindLease, tandem.KindTSIGKey, tandem.KindView, tandem.KindRecordSet,
		tandem.KindNumberRange, tandem.KindZoneKey, tandem.KindHealth,
	}
}

// kindNumber returns a kind's byte, zero for what is no kind.
func kindNumber(kind tandem.Kind) byte {
	for n, k := range kindTable() {
		if k == kind {
			return byte(n)
		}
	}
	return 0
}

// kindOf is the inverse of kindNumber; "" for a number of no kind.
func kindOf(number byte) tandem.Kind {
	if table := kindTable(); int(number) < len(table) {
		return table[number]
	}
	return ""
}

// allKinds lists every kind, each after the kinds that it may refer to.
func allKinds() []tandem.Kind {
	return append(tandem.Kinds(), tandem.KindKey, tandem.KindPermit, tandem.KindAssignment, tandem.KindLease, tandem.KindZoneKey, tandem.KindHealth)
}

// keyID is an id as it stands in keys: a zone's labels are reversed, so that a zone and all below
// it are one range.
func keyID(kind tandem.Kind, id string) string {
	if kind != tandem.KindZone || strings.IndexByte(id, '.') < 0 {
		return id
	}
	labels := strings.Split(id, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}

// appendPart appends s after its length in two big-endian octets.
func appendPart(key []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(key, uint16(len(s))), s...)
}

// cutPart is the inverse of appendPart.
func cutPart(key []byte) (part string, rest []byte, err error) {
	if len(key) < 2 || len(key)-2 < int(binary.BigEndian.Uint16(key)) {
		return "", nil, fmt.Errorf("key part cut short")
	}
	n := 2 + int(binary.BigEndian.Uint16(key))
	return string(key[2:n]), key[n:], nil
}

func appendObjectKey(key []byte, k objectKey) []byte {
	key = append(key, tableObject, kindNumber(k.kind))
	return append(key, keyID(k.kind, k.id)...)
}

// parseObjectKey reads a key of the object table.
func parseObjectKey(key []byte) (objectKey, error) {
	if len(key) < 3 || key[0] != tableObject {
		return objectKey{}, fmt.Errorf("key %x is no object's", key)
	}
	kind := kindOf(key[1])
	if kind == "" {
		return objectKey{}, fmt.Errorf("key %x is of an unknown kind", key)
	}
	return objectKey{kind, keyID(kind, string(key[2:]))}, nil
}

// ownerPrefix begins the keys of one owner's objects of one kind; the id follows.
func ownerPrefix(key []byte, kind tandem.Kind, owner string) []byte {
	return appendPart(append(key, tableOwner, kindNumber(kind)), owner)
}

func appendOwnerKey(key []byte, k objectKey, owner string) []byte {
	return append(ownerPrefix(key, k.kind, owner), keyID(k.kind, k.id)...)
}

// refPrefix begins the keys of the objects that refer to target; kind and id of each follow.
func refPrefix(key []byte, target objectKey) []byte {
	return appendPart(append(key, tableRef, kindNumber(target.kind)), target.id)
}

func appendRefKey(key []byte, target, from objectKey) []byte {
	return append(append(refPrefix(key, target), kindNumber(from.kind)), from.id...)
}

// parseRefKey reads a key of the reference table.
func parseRefKey(key []byte) (target, from objectKey, err error) {
	if len(key) < 2 || key[0] != tableRef {
		return target, from, fmt.Errorf("key %x is no reference's", key)
	}
	id, rest, err := cutPart(key[2:])
	if err != nil || len(rest) < 2 {
		return target, from, fmt.Errorf("key %x of a reference is cut short", key)
	}
	target = objectKey{kindOf(key[1]), id}
	from = objectKey{kindOf(rest[0]), string(rest[1:])}
	if target.kind == "" || from.kind == "" {
		return target, from, fmt.Errorf("key %x is of an unknown kind", key)
	}
	return target, from, nil
}

// claimName is a name in a space.
type claimName struct{ space, name string }

func appendClaimKey(key []byte, c claimName) []byte {
	return append(appendPart(append(key, tableClaim), c.space), c.name...)
}

// parseClaimKey reads a key of the claim table.
func parseClaimKey(key []byte) (claimName, error) {
	if len(key) < 1 || key[0] != tableClaim {
		return claimName{}, fmt.Errorf("key %x is no claim's", key)
	}
	space, rest, err := cutPart(key[1:])
	return claimName{space, string(rest)}, err
}

func appendLogKey(key []byte, r tandem.Revision) []byte {
	return binary.BigEndian.AppendUint64(append(key, tableLog), uint64(r))
}

// revisionOf is the inverse of appendLogKey; zero for a key of another length.
func revisionOf(key []byte) tandem.Revision {
	if len(key) != 9 {
		return 0
	}
	return tandem.Revision(binary.BigEndian.Uint64(key[1:]))
}

func appendBindingKey(key []byte, b *tandem.Binding) []byte {
	key = appendPart(append(key, tableBinding), b.Account)
	key = appendPart(key, b.AOR)
	key = appendPart(key, b.Device)
	return append(key, b.Contact...)
}

// prefixEnd returns the first key after all that begin with prefix, nil when there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
