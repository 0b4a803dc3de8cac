package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// recordSet refuses a set of an account at a name that is not the account's, and an alias beside
// other sets (RFC 1034 section 3.6.2).
func (r *resolver) recordSet(ctx context.Context, set *tandem.RecordSet) error {
	if set.Account != "" {
		a, err := r.account(ctx, set.Account)
		if err != nil {
			return err
		}
		if a != nil && !isAtLabel(a, set) { // nil: it stands elsewhere in the file, or nowhere
			reason := fmt.Sprintf("%q does not lie at or below a label of account %s in zone %s", set.Name, a.ID, set.Zone)
			return documentError{tandem.FieldError{Field: "name", Reason: reason}}
		}
	}
	r.sets[set.ID] = set
	if len(set.Records) == 0 {
		return nil
	}
	return r.alone(ctx, set)
}

// isAtLabel reports whether set lies at or below a label that leads to a.
func isAtLabel(a *tandem.Account, set *tandem.RecordSet) bool {
	return a.Zone == set.Zone && slices.ContainsFunc(a.Labels, func(l tandem.Label) bool {
		base := l.Label + "." + a.Zone
		return l.Role != tandem.LabelRetired && (set.Name == base || strings.HasSuffix(set.Name, "."+base))
	})
}

// alone compares set with what else stands at its name, in this batch or in the store.
func (r *resolver) alone(ctx context.Context, set *tandem.RecordSet) error {
	const page = 64
	others := make(map[string]*tandem.RecordSet)
	for after := set.Name + ":"; ; {
		stored, err := r.reader.List(ctx, tandem.Principal{Admin: true}, tandem.KindRecordSet, "", after, page)
		if err != nil {
			return err
		}
		for _, o := range stored {
			other := o.(*tandem.RecordSet)
			if other.Name == set.Name {
				others[other.ID] = other
			}
			after = other.ID
		}
		if len(stored) < page || !strings.HasPrefix(after, set.Name+":") {
			break
		}
	}
	for id, other := range r.sets {
		if other.Name == set.Name {
			others[id] = other
		}
	}
	for _, other := range others {
		if other.Type != set.Type && other.View == set.View && len(other.Records) > 0 && (set.Type == "CNAME" || other.Type == "CNAME") {
			return documentError{tandem.FieldError{Field: "type", Reason: "CNAME stands alone, and there is a record set of another type at " + set.Name}}
		}
	}
	return nil
}
