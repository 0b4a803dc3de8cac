package dnsd

import (
	"fmt"
	"net/netip"

	"tandem/dnsd/dnstap"
	"tandem/internal/tandem"
)

// Dnstap says where queries and answers are sent to (dnstap.info): one of a socket, an address and a file;
// none: nowhere.
type Dnstap struct {
	// Socket is a collector's unix socket, Address its TCP address. It may come and go.
	Socket  string         `yaml:"socket"`
	Address netip.AddrPort `yaml:"address"`
	// File is written here; after FileSize MiB, and at every start, it is renamed to File.old. FileSize
	// zero: 1024.
	File     string `yaml:"file"`
	FileSize int    `yaml:"fileSize"`
	// Sample is that one in so many exchanges is sent; zero: each.
	Sample int `yaml:"sample"`
	// Identity and Version name this server in each message; empty: the host's name, and none.
	Identity string `yaml:"identity"`
	Version  string `yaml:"version"`
}

// QueryLog writes a line about some of the queries, to one of a file and standard error; neither: none is
// written.
type QueryLog struct {
	// File is written on after a restart; after FileSize MiB it is renamed to File.old. FileSize zero: 256.
	File     string `yaml:"file"`
	FileSize int    `yaml:"fileSize"`
	Stderr   bool   `yaml:"stderr"`
	// Sample is that one in so many queries is written; zero: 100.
	Sample int `yaml:"sample"`
	// PerSecond is how many lines a second are written at most; zero: 100.
	PerSecond int `yaml:"perSecond"`
}

// mostSample bounds the shares that are looked at.
const mostSample = 1_000_000_000

// mostFileSize bounds what files may grow to, in MiB.
const mostFileSize = 1 << 20

// Files returns the paths in d, for whoever makes relative ones absolute.
func (d *Dnstap) Files() []*string { return []*string{&d.Socket, &d.File} }

// Files returns the paths in q, for whoever makes relative ones absolute.
func (q *QueryLog) Files() []*string { return []*string{&q.File} }

// wanted reports whether d names a target.
func (d Dnstap) wanted() bool { return d.Socket != "" || d.File != "" || d.Address != netip.AddrPort{} }

// wanted reports whether q names a target.
func (q QueryLog) wanted() bool { return q.File != "" || q.Stderr }

// target returns where d goes to.
func (d Dnstap) target() dnstap.Target {
	t := dnstap.Target{Socket: d.Socket, File: d.File, FileSize: int64(orDefault(d.FileSize, 1024)) << 20}
	if d.Address.IsValid() {
		t.Address = d.Address.String()
	}
	return t
}

// faults reports what is wrong with d.
func (d Dnstap) faults() (errs tandem.FieldErrors) {
	targets := 0
	for _, named := range []bool{d.Socket != "", d.File != "", d.Address != netip.AddrPort{}} {
		if named {
			targets++
		}
	}
	rest := d
	rest.Socket, rest.File, rest.Address = "", "", netip.AddrPort{}
	switch {
	case targets > 1:
		errs = append(errs, tandem.FieldError{Field: "dnstap", Reason: "names more than one of socket, address and file"})
	case targets == 0 && rest != Dnstap{}:
		errs = append(errs, tandem.FieldError{Field: "dnstap", Reason: "names no target: socket, address or file"})
	case d.Address != netip.AddrPort{} && (!d.Address.IsValid() || d.Address.Port() == 0):
		errs = append(errs, tandem.FieldError{Field: "dnstap.address", Reason: "is not an address and port such as 127.0.0.1:6000"})
	}
	for field, text := range map[string]string{"dnstap.identity": d.Identity, "dnstap.version": d.Version} {
		if len(text) > 255 {
			errs = append(errs, tandem.FieldError{Field: field, Reason: "is longer than 255 octets"})
		}
	}
	return append(errs, outOfRange("dnstap.sample", d.Sample, "dnstap.fileSize", d.FileSize)...)
}

// faults reports what is wrong with q.
func (q QueryLog) faults() (errs tandem.FieldErrors) {
	switch {
	case q.File != "" && q.Stderr:
		errs = append(errs, tandem.FieldError{Field: "queryLog", Reason: "names both file and stderr"})
	case !q.wanted() && q != QueryLog{}:
		errs = append(errs, tandem.FieldError{Field: "queryLog", Reason: "names no target: file or stderr"})
	}
	if q.PerSecond < 0 || q.PerSecond > 1_000_000 {
		errs = append(errs, tandem.FieldError{Field: "queryLog.perSecond", Reason: "is not within 0 and 1000000"})
	}
	return append(errs, outOfRange("queryLog.sample", q.Sample, "queryLog.fileSize", q.FileSize)...)
}

// outOfRange reports a sample and a file's size that cannot be.
func outOfRange(sample string, n int, size string, mib int) (errs tandem.FieldErrors) {
	for _, f := range []struct {
		field       string
		value, most int
	}{{sample, n, mostSample}, {size, mib, mostFileSize}} {
		if f.value < 0 || f.value > f.most {
			errs = append(errs, tandem.FieldError{Field: f.field, Reason: fmt.Sprintf("is not within 0 and %d", f.most)})
		}
	}
	return errs
}
