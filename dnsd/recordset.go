package dnsd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"tandem/dnsd/zonefile"
	"tandem/internal/tandem"
)

// recordSetTTL is for RecordSets that state none.
const recordSetTTL = 300

// CheckRecordSet reports whether r's records can be served; the error is a tandem.FieldError for the
// field that is at fault. Whether they may stand where they are to depends on the zone, and on what
// else it holds.
func CheckRecordSet(r *tandem.RecordSet) error {
	_, _, _, err := readRecordSet(r)
	return err
}

// readRecordSet returns a RecordSet's owner in wire form, its type and its records, none for a tombstone.
func readRecordSet(r *tandem.RecordSet) (key string, rrtype uint16, set rrset, err error) {
	if key, err = wireKey(r.Name); err != nil || present(key) != r.Name+"." {
		return "", 0, nil, tandem.FieldError{Field: "name", Reason: fmt.Sprintf("%q is not a domain name in lower case, escaped as in zone text", r.Name)}
	}
	rrtype, reason := recordSetType(r.Type)
	apex, err := wireKey(r.Zone)
	switch {
	case err != nil || !within(key, apex):
		return "", 0, nil, tandem.FieldError{Field: "name", Reason: fmt.Sprintf("lies outside zone %s", r.Zone)}
	case reason == "" && rrtype == dns.TypeCNAME && key == apex:
		reason = "CNAME cannot stand at the apex"
	}
	if reason != "" {
		return "", 0, nil, tandem.FieldError{Field: "type", Reason: reason}
	}
	n := &node{}
	for i, text := range r.Records {
		rr, err := readRecord(r, rrtype, text)
		if err != nil {
			return "", 0, nil, tandem.FieldError{Field: fmt.Sprintf("records[%d]", i), Reason: err.Error()}
		}
		if reason := n.admits(rr, key == apex); reason != "" {
			return "", 0, nil, tandem.FieldError{Field: fmt.Sprintf("records[%d]", i), Reason: reason}
		}
		n.add(rr)
	}
	if set = n.set(rrtype); set.size() > mostSetSize {
		return "", 0, nil, tandem.FieldError{Field: "records", Reason: "are more than an answer can hold"}
	}
	return key, rrtype, set, nil
}

// recordSetType returns the type that text names, or says why no RecordSet can be of it.
func recordSetType(text string) (uint16, string) {
	rrtype, err := zonefile.ParseType(text)
	if err == nil && typeText(rrtype) != text {
		return 0, fmt.Sprintf("%q is written %s", text, typeText(rrtype))
	}
	switch {
	case err != nil || isMeta(rrtype):
		return 0, fmt.Sprintf("%q is not a type that can be stored", text)
	case rrtype == dns.TypeSOA:
		return 0, "SOA is the zone's own: its records say it"
	case isSigning(rrtype):
		return 0, fmt.Sprintf("%s is made by signing", text)
	}
	return rrtype, ""
}

// typeText returns a type's mnemonic, or TYPE and its number.
func typeText(rrtype uint16) string { return zonefile.TypeText(rrtype) }

// isSigning reports whether signing makes a type. DS is not one of them: it is the child's key, told
// by its keeper.
func isSigning(rrtype uint16) bool {
	switch rrtype {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeKEY, dns.TypeSIG, dns.TypeNXT:
		return true
	}
	return false
}

// readRecord reads the RDATA of one record.
func readRecord(r *tandem.RecordSet, rrtype uint16, text string) (dns.RR, error) {
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return nil, errors.New("holds a control character")
	}
	ttl := r.TTL
	if ttl == 0 {
		ttl = recordSetTTL
	}
	line := fmt.Sprintf("%s. %d IN %s %s\n", r.Name, ttl, r.Type, text)
	reader := zonefile.NewReader(strings.NewReader(line), zonefile.Options{Origin: originOf(r.Zone)})
	rec, err := reader.Next()
	if err != nil {
		return nil, fmt.Errorf("%q is not the data of a %s record: %s", clip(text), r.Type, reasonOf(err))
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) || rec.Type != rrtype {
		return nil, fmt.Errorf("%q is not the data of one %s record", clip(text), r.Type)
	}
	return recordOf(&rec), nil
}

// reasonOf returns what is wrong with the one line that was read.
func reasonOf(err error) string {
	var fault *zonefile.Fault
	if errors.As(err, &fault) {
		return fault.Text
	}
	return "it ends too soon"
}

// clip shortens a text for a message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// recordData returns the RDATA of rr, which came over the wire, as zone text that reads back as the same octets:
// in its type's own form where that is so, else in that of RFC 3597.
func recordData(rr dns.RR) string {
	rrtype := rr.Header().Rrtype
	packed, err := packData(rr)
	if err != nil {
		return strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	text := zonefile.DataText(rrtype, packed)
	r := &tandem.RecordSet{Zone: "x", Name: "x", Type: typeText(rrtype)}
	if back, err := readRecord(r, rrtype, text); err == nil {
		if again, err := packData(back); err == nil && string(again) == string(packed) {
			return text
		}
	}
	return fmt.Sprintf("\\# %d %X", len(packed), packed)
}

// packData returns the RDATA of rr without compression.
func packData(rr dns.RR) ([]byte, error) {
	buf := make([]byte, dns.Len(rr)+maxNameSize)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	at := skipName(buf[:n], 0) + 10
	return slices.Clone(buf[at:n]), nil
}
