// Package zonefile reads and writes zone text: RFC 1035 section 5 with $TTL (RFC 2308 section 4),
// $GENERATE as BIND has it, and every type that IANA has registered, each both in its own form and
// in that of RFC 3597.
//
// It promises:
//   - It reads a stream, entry by entry; what it keeps does not grow with the text.
//   - It is strict: what it takes means one thing. A wrong escape, a string over 255 octets, a name over
//     255, a TTL over 2^31-1, data that is left over or missing is a Fault with file and line.
//   - After a fault the next entry is read as if nothing had been, so that all faults can be told.
//   - What it writes it reads again to the same octets.
//
// It knows records one by one. Whether they make a good zone is package zonecheck's question.
package zonefile

import (
	"fmt"
	"io"
)

// Record is one resource record as zone text says it.
type Record struct {
	Owner string // wire form, in the case in which it was written
	Type  uint16
	Class uint16
	TTL   uint32 // seconds
	Data  []byte // RDATA in wire form, no name in it compressed
	File  string // the file that it stands in, as it was named
	Line  int    // where the record begins in it, from 1
	// NoTTL says that the text gives no TTL, neither with this record nor before it.
	NoTTL bool
	// Made is how many records the same line made before this one; only $GENERATE makes more than one.
	Made int
}

// Fault is something wrong with zone text.
type Fault struct {
	File string
	Line int
	Text string // what is wrong and what would be right
	RFC  string // where that is said: "RFC 1035 section 5.1"; may be empty
}

// Error returns file:line: text (RFC), without what is not known.
func (f *Fault) Error() string {
	text := f.Text
	if f.RFC != "" {
		text += " (" + f.RFC + ")"
	}
	if f.File == "" {
		return fmt.Sprintf("line %d: %s", f.Line, text)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, text)
}

// fault is an error whose place is not known yet.
type fault struct{ text, rfc string }

func (f fault) Error() string { return f.text }

func wrong(rfc, format string, args ...any) error { return fault{fmt.Sprintf(format, args...), rfc} }

// Limits of what a text may be.
const (
	// MostTTL is the longest time to live in seconds (RFC 2181 section 8).
	MostTTL = 1<<31 - 1
	// MostGenerated is how many records all $GENERATE lines of a text may make together.
	MostGenerated = 1 << 16

	maxName    = 255
	maxLabel   = 63
	maxString  = 255
	maxData    = 65535
	maxEntry   = 1 << 20 // octets of an entry: the longest RDATA with every octet written \DDD, and room
	maxInclude = 8       // files within files
)

// Options says how to read a text. Its zero value reads a text whose names are relative to the root
// and which may include no other.
type Options struct {
	Origin string // in wire form; "" means the root
	File   string // the text's name in faults and records
	TTL    uint32 // for records before which no TTL is given; zero means 3600
	// Include opens the file that $INCLUDE names in the file from; nil refuses $INCLUDE.
	Include func(name, from string) (io.ReadCloser, string, error)
}
