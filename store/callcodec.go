package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"tandem/internal/tandem"
)

// callEntry is a call's record as it is kept: flags (1 octet), account after its length (2 octets),
// the call in CBOR.
type callEntry struct {
	ended   bool
	account string
	cbor    []byte
}

const flagEnded byte = 1

func appendCallEntry(buf []byte, e *callEntry) []byte {
	var flags byte
	if e.ended {
		flags |= flagEnded
	}
	return append(appendPart(append(buf, flags), e.account), e.cbor...)
}

// parseCallEntry reads what appendCallEntry wrote; the entry shares payload's memory.
func parseCallEntry(payload []byte) (callEntry, error) {
	if len(payload) < 1 {
		return callEntry{}, errShort
	}
	account, rest, err := cutPart(payload[1:])
	return callEntry{payload[0]&flagEnded != 0, account, rest}, err
}

// callEvent is an event as it is kept: time (8 octets, nanoseconds of the Unix epoch), account
// after its length (2 octets), the call without its dialogs in CBOR. Its number stands in the key.
type callEvent struct {
	time    time.Time
	account string
	cbor    []byte
}

func appendCallEvent(buf []byte, e *callEvent) []byte {
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.time.UnixNano()))
	return append(appendPart(buf, e.account), e.cbor...)
}

// parseCallEvent reads what appendCallEvent wrote; the event shares payload's memory.
func parseCallEvent(payload []byte) (callEvent, error) {
	if len(payload) < 8 {
		return callEvent{}, errShort
	}
	account, rest, err := cutPart(payload[8:])
	return callEvent{time.Unix(0, int64(binary.BigEndian.Uint64(payload))).UTC(), account, rest}, err
}

func (c *codec) encodeCall(call *tandem.Call) ([]byte, error) { return c.enc.Marshal(call) }

func (c *codec) decodeCall(payload []byte) (tandem.Call, error) {
	var call tandem.Call
	err := c.dec.Unmarshal(payload, &call)
	return call, err
}

// callState is the one record that every batch of calls rewrites.
type callState struct {
	last    tandem.Revision // number of the last event
	floor   tandem.Revision // the last event no longer kept
	records uint64          // how many calls there are
}

func appendCallState(buf []byte, s *callState) []byte {
	for _, n := range []uint64{uint64(s.last), uint64(s.floor), s.records} {
		buf = binary.BigEndian.AppendUint64(buf, n)
	}
	return buf
}

func parseCallState(payload []byte) (callState, error) {
	if len(payload) != 24 {
		return callState{}, errShort
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(payload[8*i:]) }
	return callState{tandem.Revision(n(0)), tandem.Revision(n(1)), n(2)}, nil
}

func appendCallKey(key []byte, id string) []byte { return append(append(key, tableCall), id...) }

func appendOpenKey(key []byte, id string) []byte { return append(append(key, tableCallOpen), id...) }

// callOwnerPrefix begins the keys of an account's calls; the id of each follows.
func callOwnerPrefix(key []byte, account string) []byte {
	return appendPart(append(key, tableCallOwner), account)
}

func appendCallOwnerKey(key []byte, account, id string) []byte {
	return append(callOwnerPrefix(key, account), id...)
}

// parseCallOwnerKey reads a key of the index of accounts' calls.
func parseCallOwnerKey(key []byte) (account, id string, err error) {
	if len(key) < 1 || key[0] != tableCallOwner {
		return "", "", fmt.Errorf("key %x is not of the index of calls", key)
	}
	account, rest, err := cutPart(key[1:])
	return account, string(rest), err
}

func appendCallEventKey(key []byte, seq tandem.Revision) []byte {
	return binary.BigEndian.AppendUint64(append(key, tableCallEvent), uint64(seq))
}
