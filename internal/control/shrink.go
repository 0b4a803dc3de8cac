package control

import (
	"context"
	"errors"
	"fmt"

	"tandem/internal/tandem"
)

// A change that takes much of a zone away is more often a slip, such as a list cut short on its way, than
// what somebody wants. It is refused unless the caller says that it is meant.
const (
	shrinkShare = 50 // per cent that may go in one change
	shrinkLeast = 20 // smaller zones may lose all
)

// shrinks reports whether going from before to after takes too much away.
func shrinks(before, after int) bool {
	return before >= shrinkLeast && (before-after)*100 > before*shrinkShare
}

func shrinkError(field, what string, before, after int) error {
	return tandem.FieldError{Field: field, Reason: fmt.Sprintf(
		"has %d %s, and %d after this: over %d %% less; look whether that is meant, then repeat it with --allow-shrink (API: allow-shrink=1)", before, what, after, shrinkShare)}
}

// guard refuses a change of a zone that takes much of its plain records away.
func (r *run) guard(it intent) error {
	z, isZone := it.edit.Object.(*tandem.Zone)
	if !isZone || it.action != Changed || r.body.shrink || r.deps.CountRecords == nil {
		return nil
	}
	old := it.old.(*tandem.Zone)
	if len(z.Records) >= len(old.Records) && z.Records != "" {
		return nil // a text of the same length or more may say less, but is no list cut short
	}
	if before, after := r.deps.CountRecords(old), r.deps.CountRecords(z); shrinks(before, after) {
		return documentError{shrinkError("records", "records", before, after)}
	}
	return nil
}

// guardRemoval refuses to delete much of a zone's accounts in one body.
func (r *run) guardRemoval(ctx context.Context) error {
	if r.body.shrink || r.deps.AccountsIn == nil {
		return nil
	}
	going := map[string]int{}
	for n := range r.docs {
		o, err := r.object(int32(n))
		if err != nil {
			return err
		}
		if o.Kind() != tandem.KindAccount {
			continue
		}
		found, err := r.deps.Reader.Get(ctx, r.by, tandem.KindAccount, o.Header().ID)
		switch a, _ := found.(*tandem.Account); {
		case errors.Is(err, tandem.ErrNotFound):
		case err != nil:
			return err
		case a != nil:
			going[a.Zone]++
		}
	}
	for zone, n := range going {
		if before := r.deps.AccountsIn(zone); shrinks(before, before-n) {
			r.faults.add(Fault{Reason: "Zone " + zone + " " + shrinkError("", "accounts", before, before-n).Error()})
		}
	}
	return r.faults.err()
}
