package control

import (
	"net/http"
	"reflect"
	"strings"

	"tandem/internal/tandem"
)

// Explanation is what the product says about a kind or a field.
type Explanation struct {
	Path    string           `json:"path" explain:"What is explained, such as Account.labels."`
	Type    string           `json:"type" explain:"What it takes."`
	Explain string           `json:"explain" explain:"What it is for."`
	Fields  []FieldExplained `json:"fields,omitempty" explain:"The fields inside it, in order."`
}

// FieldExplained is one field of an Explanation.
type FieldExplained struct {
	Name     string `json:"name" explain:"Name in documents."`
	Type     string `json:"type" explain:"What it takes."`
	Optional bool   `json:"optional,omitempty" explain:"Whether it may be left out."`
	Explain  string `json:"explain" explain:"What it is for."`
}

// Explain explains a kind or a field by its path, such as Account or account.labels.role. Names are
// taken in any case.
func Explain(path string) (Explanation, error) {
	name, rest, _ := strings.Cut(path, ".")
	k, ok := ParseKind(name)
	if !ok {
		reason := ""
		if guess := nearest(name, kindNames()); guess != "" {
			reason = "; did you mean " + guess + "?"
		}
		return Explanation{}, refuse(http.StatusNotFound, "%.80s is not a kind%s", name, reason)
	}
	s := newSchema()
	r := s.kinds[k]
	e := Explanation{Path: string(k), Type: "object", Explain: kindText(k)}
	for rest != "" {
		name, rest, _ = strings.Cut(rest, ".")
		f, err := r.find(e.Path, name)
		if err != nil {
			return Explanation{}, err
		}
		e.Path, e.Type, e.Explain = e.Path+"."+f.name, typeName(f.typ), f.explain
		if r = s.records[elem(f.typ)]; r == nil && rest != "" {
			return Explanation{}, refuse(http.StatusNotFound, "%s is %s: it has no fields", e.Path, e.Type)
		}
	}
	if r != nil {
		for _, f := range r.fields {
			e.Fields = append(e.Fields, FieldExplained{Name: f.name, Type: typeName(f.typ), Optional: f.optional, Explain: f.explain})
		}
	}
	return e, nil
}

// find returns a field by its name in any case.
func (r *record) find(owner, name string) (field, error) {
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			return f, nil
		}
	}
	return field{}, refuse(http.StatusNotFound, "%s.%.80s: %s", owner, name, unknownField(r, name))
}

func kindNames() []string {
	var names []string
	for _, k := range tandem.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// FieldPaths lists every path that Explain takes below a kind, for completion.
func FieldPaths(k tandem.Kind) []string {
	s := newSchema()
	var paths []string
	var walk func(prefix string, r *record)
	walk = func(prefix string, r *record) {
		for _, f := range r.fields {
			path := prefix + "." + f.name
			paths = append(paths, path)
			if inner := elem(f.typ); isRecord(inner) && inner.Kind() == reflect.Struct {
				walk(path, s.records[inner])
			}
		}
	}
	walk(string(k), s.kinds[k])
	return paths
}

// kindText says what objects of a kind are.
func kindText(k tandem.Kind) string {
	switch k {
	case tandem.KindZone:
		return "An apex that the appliance is authoritative for, by its domain name: for accounts' inbound names, for forwarding names, or for plain records."
	case tandem.KindCluster:
		return "A set of feature servers that serve together; nodes name the cluster they are in."
	case tandem.KindNode:
		return "One feature server: where it listens and what it serves."
	case tandem.KindEdge:
		return "A connection point: where devices reach an appliance's proxy."
	case tandem.KindGroup:
		return "The unit of tier 1: accounts that are placed together on one cluster."
	case tandem.KindAccount:
		return "One customer: inbound names, digest realm, numbers, and where requests of each type go."
	case tandem.KindPeer:
		return "A carrier, trunk PBX or feature server, known by where its requests come from."
	case tandem.KindUser:
		return "A person within an account, with an extension and numbers."
	case tandem.KindDevice:
		return "A phone or softphone with SIP credentials."
	case tandem.KindTSIGKey:
		return "A secret, by its name, that name servers and clients of dynamic update sign messages with (RFC 8945)."
	case tandem.KindView:
		return "A group of clients, by network or key, that see record sets of their own."
	case tandem.KindRecordSet:
		return "One set of records of a zone, apart from its text: put by dynamic update, by the API, or for one view."
	case tandem.KindNumberRange:
		return "E.164 numbers of one account, by prefix, as zones with role enum answer them (RFC 6116)."
	}
	return ""
}
