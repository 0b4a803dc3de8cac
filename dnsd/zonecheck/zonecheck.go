// Package zonecheck finds what is wrong with a zone as a whole: what makes servers refuse it, what makes
// names in it fail, and what is likely a slip. It finds what kzonecheck, nsd-checkzone and named-checkzone
// find, each with file, line and the RFC that says so.
//
// An Error is what one of the three refuses, or what breaks names; a Warning is for people to look at.
// Package zonefile reads the records; signatures are checked with miekg/dns.
package zonecheck

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tandem/dnsd/zonefile"
)

// Severity is how bad a finding is.
type Severity string

// Severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong with a zone.
type Finding struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"` // from 1; zero is the zone as a whole
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	RFC      string   `json:"rfc,omitempty"` // "RFC 1035 section 5.2"
}

// String returns file:line: severity: text (RFC), without what is not known.
func (f Finding) String() string {
	var b strings.Builder
	if b.WriteString(f.File); f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s: %s", f.Severity, f.Text)
	if f.RFC != "" {
		fmt.Fprintf(&b, " (%s)", f.RFC)
	}
	return b.String()
}

// Options says how to check a text.
type Options struct {
	// Origin is the zone's apex as text, "" for the owner of its SOA record.
	Origin string
	File   string
	// Include opens what $INCLUDE names; nil refuses it.
	Include func(name, from string) (io.ReadCloser, string, error)
	// Now is the time at which signatures must hold. Zero means the present.
	Now time.Time
	// Lax leaves out what a zone whose SOA and NS records are made elsewhere need not have.
	Lax bool
}

// Report is what was found.
type Report struct {
	Origin   string    `json:"origin"` // apex, without a dot at its end
	Records  int       `json:"records"`
	Signed   bool      `json:"signed"`
	Findings []Finding `json:"findings"` // in the order of files and lines
}

// Errors returns how many findings are errors.
func (r *Report) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Error {
			n++
		}
	}
	return n
}

// mostFindings bounds a report.
const mostFindings = 1000

// Check reads a zone's text and reports on it. The error is one of reading, or an origin that is no name.
func Check(in io.Reader, o Options) (*Report, error) {
	c := &check{options: o, zone: newZone()}
	if err := c.read(in); err != nil {
		return nil, err
	}
	for _, step := range []func(){c.apexRecords, c.sets, c.names, c.targets, c.delegations, c.data, c.security, c.digests} {
		step()
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line)
	})
	c.found = slices.Compact(c.found)
	report := &Report{Origin: strings.TrimSuffix(zonefile.NameText(c.zone.apex), "."), Records: c.count, Signed: c.signed(), Findings: c.found}
	if c.more > 0 {
		report.Findings = append(report.Findings, Finding{File: o.File, Severity: Error, Text: fmt.Sprintf("and %d more", c.more)})
	}
	return report, nil
}

// check is a check under way.
type check struct {
	options Options
	zone    *zone
	found   []Finding
	more    int
	count   int
}

// at is where a finding stands.
type at struct {
	file string
	line int
}

func (c *check) add(severity Severity, where at, rfc, format string, args ...any) {
	if len(c.found) >= mostFindings {
		c.more++
		return
	}
	c.found = append(c.found, Finding{File: where.file, Line: where.line, Severity: severity, Text: fmt.Sprintf(format, args...), RFC: rfc})
}

func (c *check) wrong(where at, rfc, format string, args ...any) {
	c.add(Error, where, rfc, format, args...)
}

func (c *check) doubt(where at, rfc, format string, args ...any) {
	c.add(Warning, where, rfc, format, args...)
}

// whole is the place of what concerns the zone as a whole.
func (c *check) whole() at { return at{file: c.options.File} }

// read takes the zone's records in.
func (c *check) read(in io.Reader) error {
	origin := ""
	if c.options.Origin != "" {
		var err error
		if origin, err = zonefile.ParseName(strings.TrimSuffix(c.options.Origin, ".")+".", ""); err != nil {
			return fmt.Errorf("origin: %w", err)
		}
		c.zone.apex = zonefile.Fold(origin)
	}
	r := zonefile.NewReader(in, zonefile.Options{Origin: origin, File: c.options.File, Include: c.options.Include})
	defer r.Close()
	for {
		rec, err := r.Next()
		var fault *zonefile.Fault
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &fault):
			c.wrong(at{fault.File, fault.Line}, fault.RFC, "%s", fault.Text)
		case err != nil:
			return err
		default:
			c.take(&rec, r.Origin())
		}
	}
}

// take puts one record in its set.
func (c *check) take(rec *zonefile.Record, origin string) {
	where := at{rec.File, rec.Line}
	key := zonefile.Fold(rec.Owner)
	if c.zone.apex == "" {
		c.zone.apex = zonefile.Fold(origin)
		if rec.Type == zonefile.TypeSOA {
			c.zone.apex = key
		}
	}
	switch {
	case !within(key, c.zone.apex):
		c.wrong(where, "RFC 1035 section 5.2", "%s lies outside %s", text(key), text(c.zone.apex))
		return
	case rec.Class != zonefile.ClassIN:
		c.wrong(where, "RFC 1035 section 5.2", "the class of %s is not IN", text(key))
		return
	case rec.NoTTL && c.count == 0:
		c.doubt(where, "RFC 2308 section 4", "no TTL is stated before this record; it gets 3600")
	}
	c.count++
	n := c.zone.at(key)
	s := n.sets[rec.Type]
	if s == nil {
		s = &set{owner: key, rrtype: rec.Type, ttl: rec.TTL}
		n.sets[rec.Type] = s
		n.types = append(n.types, rec.Type)
	}
	folded := foldData(rec.Type, rec.Data)
	if i := slices.IndexFunc(s.records, func(r record) bool { return r.folded == folded }); i >= 0 && len(s.records) < 1000 {
		c.doubt(where, "RFC 2181 section 5", "%s %s: the same record stands in line %d", text(key), zonefile.TypeText(rec.Type), s.records[i].at.line)
		return
	}
	if s.ttl != rec.TTL && rec.Type != zonefile.TypeRRSIG {
		c.doubt(where, "RFC 2181 section 5.2", "%s %s: TTL %d differs from its set's %d", text(key), zonefile.TypeText(rec.Type), rec.TTL, s.ttl)
	}
	s.records = append(s.records, record{at: where, data: string(rec.Data), folded: folded, ttl: rec.TTL})
}
