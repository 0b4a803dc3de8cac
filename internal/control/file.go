package control

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"sync"
	"time"

	"tandem/internal/tandem"
)

// file is a body of documents that has been read through once: what it holds and where, so that its
// documents can be had again in the order in which they must be written. The documents themselves
// are not kept.
type file struct {
	name   string
	format format
	in     io.ReaderAt
	size   int64
	schema *schema
	docs   []docAt // in the order to write: each after those it may refer to
	// byID and claims find a document by the hash of its kind and id, and of a name it claims.
	byID, claims map[uint64]int32
	seed         maphash.Seed
}

// docAt says where a document stands in its file.
type docAt struct {
	offset int64
	size   int32
	begin  int32 // line at offset
	line   int32 // line that people look at: the first one that is not a comment or ---
	rank   uint8
}

// rank says in which order kinds are written. Zones of accounts come after the service zones that
// they refer to.
func rank(o tandem.Object) uint8 {
	r := uint8(2 * slices.Index(tandem.Kinds(), o.Kind()))
	if z, ok := o.(*tandem.Zone); ok && z.ServiceZone != "" {
		r++
	}
	return r
}

// read is a document as pass one sees it.
type read struct {
	at     docAt
	object tandem.Object
	faults []Fault
}

// openFile reads every document of a body and checks each by itself and against the others: unknown
// fields, bad values, ids and names that stand twice. All faults go to faults. With bare set only
// kind and id matter, as for a deletion. report is told how many octets are behind.
func openFile(ctx context.Context, name string, in io.ReaderAt, size int64, p parser, faults *faultList, report func(done int64)) (*file, error) {
	f := &file{
		name: name, format: sniff(name, in, size), in: in, size: size, schema: p.schema,
		byID: make(map[uint64]int32), claims: make(map[uint64]int32), seed: maphash.MakeSeed(),
	}
	const together = 128
	work := func(group []raw) []read {
		out := make([]read, 0, len(group))
		for _, r := range group {
			if one, ok := p.read(f.format, r); ok {
				out = append(out, one)
			}
		}
		return out
	}
	err := inOrder(ctx, grouped(documents(in, size, f.format), together), work, func(group []read) error {
		for i := range group {
			f.add(&group[i], faults, p.bare)
			report(group[i].at.offset)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.sort()
	return f, nil
}

// parser is how documents are read and checked one by one.
type parser struct {
	schema    *schema
	checkZone func(*tandem.Zone) error
	checkSet  func(*tandem.RecordSet) error
	bare      bool
	timeZones *timeZones
}

// timeZones remembers which IANA time zones there are: each is a file to read, and a bulk of
// accounts names the same few. The zero value is ready.
type timeZones struct{ known sync.Map }

// check reports a name that no time zone has; "" is UTC.
func (z *timeZones) check(name string) error {
	if _, ok := z.known.Load(name); ok {
		return nil
	}
	if _, err := time.LoadLocation(name); err != nil {
		return tandem.FieldError{Field: "timeZone", Reason: fmt.Sprintf("%q is not an IANA time zone such as Europe/Paris", name)}
	}
	z.known.Store(name, true)
	return nil
}

// read decodes and checks one document; ok is false when there is none, only comments.
func (p parser) read(f format, r raw) (out read, ok bool) {
	out.at = docAt{offset: r.offset, size: int32(len(r.data)), begin: int32(r.line), line: int32(r.line)}
	if r.err != nil {
		out.faults = []Fault{{Line: r.line, Reason: r.err.Error()}}
		return out, true
	}
	t, err := f.parse(r.data, r.line)
	if err != nil {
		out.faults = []Fault{{Line: t.line, Reason: err.Error()}}
		return out, true
	}
	if t.shape == null && f == yamlText {
		return out, false
	}
	out.at.line = int32(t.line)
	if out.object, out.faults = p.schema.decode(&t); out.object == nil {
		return out, true
	}
	for _, fault := range p.check(out.object) {
		out.faults = append(out.faults, Fault{Line: t.lineOf(fault.Field), Field: fault.Field, Reason: fault.Reason})
	}
	out.at.rank = rank(out.object)
	return out, true
}

// check asks the vocabulary, and for records whoever serves them.
func (p parser) check(o tandem.Object) tandem.FieldErrors {
	if p.bare {
		if o.Header().ID == "" {
			return tandem.FieldErrors{{Field: "id", Reason: "is missing"}}
		}
		return nil
	}
	err := o.Validate()
	if z, ok := o.(*tandem.Zone); ok && err == nil && z.Records != "" && p.checkZone != nil {
		err = p.checkZone(z)
	}
	if r, ok := o.(*tandem.RecordSet); ok && err == nil && p.checkSet != nil {
		err = p.checkSet(r)
	}
	faults := fieldErrors(err)
	if a, ok := o.(*tandem.Account); ok {
		faults = append(faults, fieldErrors(p.timeZones.check(a.TimeZone))...)
	}
	return faults
}

// fieldErrors takes an error apart into faults of fields.
func fieldErrors(err error) tandem.FieldErrors {
	var many tandem.FieldErrors
	var one tandem.FieldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		return many
	case errors.As(err, &one):
		return tandem.FieldErrors{one}
	}
	return tandem.FieldErrors{{Reason: err.Error()}}
}

// add takes a document in, and tells of ids and names that an earlier document has already.
func (f *file) add(r *read, faults *faultList, bare bool) {
	for _, fault := range r.faults {
		faults.add(fault)
	}
	if r.object == nil {
		return
	}
	n := int32(len(f.docs))
	f.docs = append(f.docs, r.at)
	key := f.idHash(r.object.Kind(), r.object.Header().ID)
	if other, taken := f.byID[key]; taken && f.isNamed(other, r.object.Kind(), r.object.Header().ID) {
		faults.add(Fault{Line: f.lineOf(r.at, "id"), Field: "id", Reason: fmt.Sprintf("%s %s stands already in line %d", r.object.Kind(), r.object.Header().ID, f.docs[other].line)})
		return
	}
	f.byID[key] = n
	if bare {
		return
	}
	for _, c := range r.object.Claims() {
		key := f.claimHash(c)
		other, taken := f.claims[key]
		if !taken {
			f.claims[key] = n
			continue
		}
		if other != n && f.hasClaim(other, c) {
			faults.add(Fault{Line: f.lineOf(r.at, c.Field), Field: c.Field, Reason: fmt.Sprintf("%s is claimed in line %d already", c.Name, f.docs[other].line)})
		}
	}
}

func (f *file) idHash(k tandem.Kind, id string) uint64 {
	return maphash.String(f.seed, string(k)+"\x00"+id)
}

func (f *file) claimHash(c tandem.Claim) uint64 {
	return maphash.String(f.seed, c.Space+"\x00"+c.Name)
}

// isNamed looks whether document n really is that object, and not another with the same hash.
func (f *file) isNamed(n int32, k tandem.Kind, id string) bool {
	o, err := f.object(n)
	return err == nil && o.Kind() == k && o.Header().ID == id
}

func (f *file) hasClaim(n int32, claim tandem.Claim) bool {
	o, err := f.object(n)
	return err == nil && slices.ContainsFunc(o.Claims(), func(c tandem.Claim) bool {
		return c.Space == claim.Space && c.Name == claim.Name
	})
}

// sort brings the documents into the order to write.
func (f *file) sort() {
	order := make([]int32, len(f.docs))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return int(f.docs[a].rank) - int(f.docs[b].rank) })
	docs, place := make([]docAt, len(order)), make([]int32, len(order))
	for to, from := range order {
		docs[to], place[from] = f.docs[from], int32(to)
	}
	f.docs = docs
	for key, n := range f.byID {
		f.byID[key] = place[n]
	}
	f.claims = nil
}

// find returns the number of the document that holds an object, if the file has it.
func (f *file) find(k tandem.Kind, id string) (int32, bool) {
	n, ok := f.byID[f.idHash(k, id)]
	return n, ok
}

// tree reads document n again.
func (f *file) tree(at docAt) (tree, error) {
	data := make([]byte, at.size)
	if _, err := f.in.ReadAt(data, at.offset); err != nil && !errors.Is(err, io.EOF) {
		return tree{}, fmt.Errorf("read %s again: %w", f.name, err)
	}
	return f.format.parse(data, int(at.begin))
}

// object reads and decodes document n again.
func (f *file) object(n int32) (tandem.Object, error) {
	t, err := f.tree(f.docs[n])
	if err != nil {
		return nil, err
	}
	o, faults := f.schema.decode(&t)
	if o == nil {
		return nil, fmt.Errorf("%s changed while it was read: %s", f.name, faults[0])
	}
	return o, nil
}

// lineOf returns the line of a field of the document.
func (f *file) lineOf(at docAt, field string) int {
	t, err := f.tree(at)
	if err != nil {
		return int(at.line)
	}
	return t.lineOf(field)
}

// firstDevice returns the number of the first document that is a device.
func (f *file) firstDevice() int {
	n, _ := slices.BinarySearchFunc(f.docs, int(rank(new(tandem.Device))), func(d docAt, r int) int { return int(d.rank) - r })
	return n
}
