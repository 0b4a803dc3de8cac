package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// draft is an edit after all that can be done without looking into the store.
type draft struct {
	edit  tandem.Edit
	owner string
	cbor  []byte
}

// draft checks and encodes an edit.
func (c *codec) draft(e tandem.Edit) (draft, error) {
	if kindNumber(e.Kind) == 0 {
		return draft{}, tandem.FieldError{Field: "kind", Reason: fmt.Sprintf("%q is not a kind", e.Kind)}
	}
	if e.ID == "" || len(e.ID) > 255 {
		return draft{}, tandem.FieldError{Field: "id", Reason: "has 1 to 255 octets"}
	}
	d := draft{edit: e}
	if e.Object == nil {
		return d, nil
	}
	if e.Object.Kind() != e.Kind || e.Object.Header().ID != e.ID {
		return draft{}, tandem.FieldError{Field: "id", Reason: fmt.Sprintf("is not that of the object: %s %s", e.Object.Kind(), e.Object.Header().ID)}
	}
	if err := e.Object.Validate(); err != nil {
		return draft{}, err
	}
	var err error
	if d.cbor, err = c.encode(e.Object); err != nil {
		return draft{}, err
	}
	if len(d.cbor) > maxObject {
		return draft{}, tandem.FieldError{Reason: fmt.Sprintf("is larger than %d octets", maxObject)}
	}
	if d.owner = e.Object.Owner(); len(d.owner) > 255 {
		return draft{}, tandem.FieldError{Field: "account", Reason: "has at most 255 octets"}
	}
	return d, nil
}

// item is one object that a batch touches: what it was before the batch and is after it.
type item struct {
	key       objectKey
	was, is   *entry // nil: absent
	wasObject tandem.Object
	isObject  tandem.Object
	edit      int // index of the last edit of it
}

// plan is a batch on its way into the store: first filled, then checked, then applied.
type plan struct {
	by      tandem.Principal
	items   []*item
	byKey   map[objectKey]*item
	records []record
	claims  map[claimName]holder // as they will be; held false and forever false: free
	known   map[objectKey]target // targets already looked up

	objectAt, claimAt *cursor
}

// target is what a reference needs to know of what it points to.
type target struct {
	exists bool
	owner  string
}

// newPlan returns an empty plan over the tables as they are now. The caller closes it.
func (t *tables) newPlan(by tandem.Principal, edits int) (*plan, error) {
	objects, err := t.newCursor(tableObject)
	if err != nil {
		return nil, err
	}
	claims, err := t.newCursor(tableClaim)
	if err != nil {
		objects.close()
		return nil, err
	}
	return &plan{
		objectAt: objects, claimAt: claims,
		by:      by,
		items:   make([]*item, 0, edits),
		byKey:   make(map[objectKey]*item, edits),
		records: make([]record, 0, edits),
		claims:  make(map[claimName]holder, edits),
		known:   make(map[objectKey]target),
	}, nil
}

func (p *plan) close() {
	p.objectAt.close()
	p.claimAt.close()
}

// fill takes the drafts in order, each as the next revision after last, and checks what concerns
// each edit alone: sight, expected revision, existence.
func (t *tables) fill(p *plan, drafts []draft, last tandem.Revision, now time.Time) error {
	for i := range drafts {
		d := &drafts[i]
		it, err := t.touch(p, objectKey{d.edit.Kind, d.edit.ID}, i)
		if err == nil {
			err = t.take(p, it, d, last+tandem.Revision(i)+1)
		}
		if err != nil {
			return editError(i, d.edit, err)
		}
		p.records = append(p.records, record{
			revision: last + tandem.Revision(i) + 1, key: it.key, owner: d.owner, deletion: it.is == nil,
			last: i == len(drafts)-1, time: now, actor: clip(p.by.Name, 255),
		})
		if it.is != nil {
			p.records[i].cbor = it.is.cbor
		}
	}
	return nil
}

// touch finds the item of an object, reading what is stored when the batch meets it first.
func (t *tables) touch(p *plan, k objectKey, edit int) (*item, error) {
	if it := p.byKey[k]; it != nil {
		it.edit = edit
		return it, nil
	}
	was, err := getFrom(p.objectAt, k)
	if err != nil && !errors.Is(err, tandem.ErrNotFound) {
		return nil, err
	}
	it := &item{key: k, was: was, is: was, edit: edit}
	if was != nil {
		if it.wasObject, err = t.decode(k, was); err != nil {
			return nil, t.damaged(err)
		}
		it.isObject = it.wasObject
	}
	p.items = append(p.items, it)
	p.byKey[k] = it
	return it, nil
}

// take makes the item what the draft wants it to be.
func (t *tables) take(p *plan, it *item, d *draft, rev tandem.Revision) error {
	switch {
	case it.is != nil && !p.by.MaySee(it.is.owner), d.edit.Object != nil && !p.by.MaySee(d.owner):
		return tandem.ErrNotFound
	case it.is == nil && d.edit.Object == nil:
		return tandem.ErrNotFound
	case it.is != nil && d.edit.Create:
		return fmt.Errorf("%w: it exists, at revision %d", tandem.ErrConflict, it.is.revision)
	case d.edit.Expected != 0 && it.is == nil:
		return fmt.Errorf("%w: it was deleted, revision %d was expected", tandem.ErrConflict, d.edit.Expected)
	case d.edit.Expected != 0 && it.is.revision != d.edit.Expected:
		return fmt.Errorf("%w: it is at revision %d, %d was expected", tandem.ErrConflict, it.is.revision, d.edit.Expected)
	}
	if d.edit.Object == nil {
		it.is, it.isObject = nil, nil
		return nil
	}
	body := d.cbor
	if it.is != nil {
		kept, err := t.carryOver(t.shapes[it.key.kind], it.is.cbor, body)
		if err != nil {
			return t.damaged(fmt.Errorf("update %s: %w", it.key, err))
		}
		body = kept
	}
	it.is, it.isObject = &entry{rev, d.owner, body}, d.edit.Object
	return nil
}

// check reports the first fault of the batch as a whole: references to what will not exist,
// deletion of what is referred to, names that another holds.
func (t *tables) check(p *plan, drafts []draft) error {
	for _, step := range []func(*plan, *item) error{t.checkRefs, t.checkReferrers, t.releaseClaims, t.takeClaims} {
		for _, it := range p.items {
			if err := step(p, it); err != nil {
				return editError(it.edit, drafts[it.edit].edit, err)
			}
		}
	}
	return nil
}

// checkRefs refuses references to what is absent. What belongs to another account is as good as
// absent for an object that belongs to one.
func (t *tables) checkRefs(p *plan, it *item) error {
	if it.is == nil {
		return nil
	}
	for _, ref := range it.isObject.Refs() {
		to, err := t.target(p, objectKey{ref.Kind, ref.ID})
		if err != nil {
			return err
		}
		if !to.exists || it.is.owner != "" && to.owner != "" && to.owner != it.is.owner {
			return tandem.FieldError{Field: ref.Field, Reason: fmt.Sprintf("there is no %s %q", ref.Kind, ref.ID)}
		}
	}
	return nil
}

// target looks an object up as it will be after the batch.
func (t *tables) target(p *plan, k objectKey) (target, error) {
	if it := p.byKey[k]; it != nil {
		if it.is == nil {
			return target{}, nil
		}
		return target{true, it.is.owner}, nil
	}
	if to, ok := p.known[k]; ok {
		return to, nil
	}
	e, err := getFrom(p.objectAt, k)
	if err != nil && !errors.Is(err, tandem.ErrNotFound) {
		return target{}, err
	}
	var to target
	if e != nil {
		to = target{true, e.owner}
	}
	p.known[k] = to
	return to, nil
}

// checkReferrers refuses to delete, or give to another owner, what an object outside the batch
// refers to; those inside have been checked by their own references.
func (t *tables) checkReferrers(p *plan, it *item) error {
	if it.was == nil || it.is != nil && it.is.owner == it.was.owner {
		return nil
	}
	from, err := t.referrer(p, it.key)
	if err != nil || from.id == "" {
		return err
	}
	if it.is != nil {
		return tandem.FieldError{Field: "account", Reason: "cannot change: " + t.nameFor(p.by, from) + " refers to it"}
	}
	return tandem.FieldError{Reason: t.nameFor(p.by, from) + " refers to it"}
}

// referrer returns a stored object outside the batch that refers to k, the zero key when none does.
func (t *tables) referrer(p *plan, k objectKey) (objectKey, error) {
	prefix := refPrefix(nil, k)
	iter, err := t.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return objectKey{}, t.damaged(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		_, from, err := parseRefKey(iter.Key())
		if err != nil {
			return objectKey{}, t.damaged(err)
		}
		if p.byKey[from] == nil {
			return from, nil
		}
	}
	return objectKey{}, t.damaged(iter.Error())
}

// releaseClaims notes the names that the object gives up.
func (t *tables) releaseClaims(p *plan, it *item) error {
	if it.wasObject == nil {
		return nil
	}
	keeps := claimSet(it.isObject)
	for _, c := range it.wasObject.Claims() {
		name := claimName{c.Space, c.Name}
		if !keeps[name] {
			p.claims[name] = holder{key: it.key, forever: c.Forever}
		}
	}
	return nil
}

// takeClaims notes the names that the object takes, and refuses those that are another's.
func (t *tables) takeClaims(p *plan, it *item) error {
	if it.isObject == nil {
		return nil
	}
	has := claimSet(it.wasObject)
	for _, c := range it.isObject.Claims() {
		name := claimName{c.Space, c.Name}
		if has[name] {
			continue
		}
		h, err := t.holderOf(p, name)
		if err != nil {
			return err
		}
		if (h.held || h.forever) && h.key != it.key {
			return tandem.FieldError{Field: c.Field, Reason: takenBy(c, h, t.nameFor(p.by, h.key))}
		}
		p.claims[name] = holder{it.key, c.Forever, true}
	}
	return nil
}

func takenBy(c tandem.Claim, h holder, name string) string {
	if h.held {
		return fmt.Sprintf("%q is taken by %s", c.Name, name)
	}
	return fmt.Sprintf("%q was %s's and is never given to another", c.Name, name)
}

func claimSet(obj tandem.Object) map[claimName]bool {
	if obj == nil {
		return nil
	}
	claims := obj.Claims()
	if len(claims) == 0 {
		return nil
	}
	set := make(map[claimName]bool, len(claims))
	for _, c := range claims {
		set[claimName{c.Space, c.Name}] = true
	}
	return set
}

func (t *tables) holderOf(p *plan, name claimName) (holder, error) {
	if h, ok := p.claims[name]; ok {
		return h, nil
	}
	var room [128]byte
	var h holder
	err := p.claimAt.read(appendClaimKey(room[:0], name), func(payload []byte) (err error) {
		h, err = parseHolder(payload)
		return err
	})
	if errors.Is(err, tandem.ErrNotFound) {
		return holder{}, nil
	}
	return h, err
}

// nameFor names an object to those who may know of it.
func (t *tables) nameFor(by tandem.Principal, k objectKey) string {
	if by.Admin {
		return k.String()
	}
	if e, err := t.get(k); err == nil && by.MaySee(e.owner) {
		return k.String()
	}
	return "another object"
}

func editError(i int, e tandem.Edit, err error) error {
	return &tandem.EditError{Index: i, Kind: e.Kind, ID: e.ID, Err: err}
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
