// Package tandem is the vocabulary: the nouns that all rooms talk about, and the checks that make a
// value of one of them worth trusting. It does no I/O, starts no goroutine and reads no clock.
//
// Two families live here. Objects (Zone, Account, Group, Cluster, Node, Edge, Peer, User, Device,
// TSIGKey, View, RecordSet, NumberRange, and the internal Permit, Key, Assignment, Lease, ZoneKey and Health) are declarative: they are applied, stored under a revision and
// followed as Changes. Values (Target, Binding, Call, Step, Sample) pass between running parts.
//
// Struct tags carry what the product says about a field, once: `json` is its name in documents and
// in the API, `cbor` its number in the store (never reused), `explain` its help text, shown by
// `tandem explain` and by the OpenAPI description.
package tandem

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind names a family of objects, as documents write it in their kind field.
type Kind string

// The kinds. Kinds lists those that people apply; Permit, Key, Assignment, Lease, ZoneKey and Health are made by the product itself.
const (
	KindZone       Kind = "Zone"
	KindCluster    Kind = "Cluster"
	KindNode       Kind = "Node"
	KindEdge       Kind = "Edge"
	KindGroup      Kind = "Group"
	KindAccount    Kind = "Account"
	KindPeer       Kind = "Peer"
	KindUser       Kind = "User"
	KindDevice     Kind = "Device"
	KindPermit     Kind = "Permit"
	KindKey        Kind = "Key"
	KindAssignment Kind = "Assignment"
	KindLease      Kind = "Lease"
	KindHealth     Kind = "Health"

	KindTSIGKey     Kind = "TSIGKey"
	KindView        Kind = "View"
	KindRecordSet   Kind = "RecordSet"
	KindNumberRange Kind = "NumberRange"
	KindZoneKey     Kind = "ZoneKey"
)

// Kinds returns the kinds that can be applied, each after the kinds it may refer to.
func Kinds() []Kind {
	return []Kind{
		KindCluster, KindNode, KindEdge, KindZone, KindGroup, KindAccount, KindPeer, KindUser, KindDevice,
		KindTSIGKey, KindView, KindRecordSet, KindNumberRange,
	}
}

// New returns an empty object of kind k, or nil when k is not a kind.
func New(k Kind) Object {
	switch k {
	case KindZone:
		return new(Zone)
	case KindCluster:
		return new(Cluster)
	case KindNode:
		return new(Node)
	case KindEdge:
		return new(Edge)
	case KindGroup:
		return new(Group)
	case KindAccount:
		return new(Account)
	case KindPeer:
		return new(Peer)
	case KindUser:
		return new(User)
	case KindDevice:
		return new(Device)
	case KindPermit:
		return new(Permit)
	case KindKey:
		return new(Key)
	case KindAssignment:
		return new(Assignment)
	case KindLease:
		return new(Lease)
	case KindTSIGKey:
		return new(TSIGKey)
	case KindView:
		return new(View)
	case KindRecordSet:
		return new(RecordSet)
	case KindNumberRange:
		return new(NumberRange)
	case KindZoneKey:
		return new(ZoneKey)
	case KindHealth:
		return new(Health)
	}
	return nil
}

// Revision numbers a committed change. It grows by at least one with each change and never falls,
// also across restarts and restores. Zero means none.
type Revision uint64

// Head begins every object.
type Head struct {
	ID       string   `json:"id" cbor:"1,keyasint" explain:"Name of the object, unique within its kind; it never changes."`
	Revision Revision `json:"revision,omitempty" cbor:"-" explain:"Revision that last changed the object. Stated in an update, it must still be the current one, else the update is a conflict; leave it out to overwrite."`
}

// Object is a declarative document that the store keeps. Objects handed out by the store or in a
// Change are shared and must not be modified.
type Object interface {
	Kind() Kind
	// Header returns the object's own Head, for reading its id and setting its revision.
	Header() *Head
	// Owner returns the id of the account that the object belongs to, or "" for a global object.
	Owner() string
	// Validate reports every fault that can be seen in the object alone, as FieldErrors.
	Validate() error
	// Refs returns the objects that must exist for this one to be stored, and which cannot be
	// deleted while it is.
	Refs() []Ref
	// Claims returns the names that this object alone may hold.
	Claims() []Claim
}

// Header returns h itself; it lets every object that embeds Head satisfy Object.
func (h *Head) Header() *Head { return h }

// Owner returns "": an object is global unless its kind says otherwise.
func (h *Head) Owner() string { return "" }

// Refs returns nil: an object refers to nothing unless its kind says otherwise.
func (h *Head) Refs() []Ref { return nil }

// Claims returns nil: an object claims no name unless its kind says otherwise.
func (h *Head) Claims() []Claim { return nil }

// Ref points from a field of one object to another object.
type Ref struct {
	Field string
	Kind  Kind
	ID    string
}

// Claim is a name in a space where no two objects may hold the same one: a label within its zone,
// a number, a device's user name within its account.
type Claim struct {
	Field string // the document's field that makes the claim
	Space string // "label", "number", "username", "extension", "mac"
	Name  string // qualified as far as needed to be unique in Space
	// Forever keeps the claim with its holder's id even after the holder is gone, so that
	// nobody else is ever given the name (retired labels).
	Forever bool
}

// Change is one committed step of the log. Object is nil for a deletion.
type Change struct {
	Revision Revision
	Kind     Kind
	ID       string
	Object   Object
	Time     time.Time // when it was committed, wall clock, for people
	Actor    string    // who made it, for people
}

// Principal is who asks. The zero value may do nothing.
type Principal struct {
	Name string // for the change log: "uid 0", a certificate's name
	// Account limits sight to one account's objects; "" with Admin sees all.
	Account string
	Admin   bool
}

// MaySee reports whether p may know that an object with this owner exists. Global objects are
// seen by administrators only.
func (p Principal) MaySee(owner string) bool {
	return p.Admin || (owner != "" && owner == p.Account)
}

// FieldError is a fault in one field of a document.
type FieldError struct {
	Field  string // path, such as "labels[0].label"; "" for the document as a whole
	Reason string // what is wrong and what would be right, without the field's name
}

func (e FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// FieldErrors is every fault found in a document, in the order of its fields.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	parts := make([]string, len(e))
	for i, f := range e {
		parts[i] = f.Error()
	}
	return strings.Join(parts, "; ")
}

// add notes a fault.
func (e *FieldErrors) add(field, format string, args ...any) {
	*e = append(*e, FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// err returns nil when nothing was added, so that a nil slice is never a non-nil error.
func (e FieldErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Edit asks for one object to be put or, with Object nil, deleted.
type Edit struct {
	Kind   Kind
	ID     string
	Object Object
	// Expected is the revision that the object must still have; zero overwrites whatever is there.
	Expected Revision
	// Create refuses an edit of an object that exists.
	Create bool
}

// What can stand in the way of an edit or a look. Compare with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed meanwhile")
)

// EditError says which edit of a batch was refused; nothing of the batch was done.
type EditError struct {
	Index int // of the edit in its batch
	Kind  Kind
	ID    string
	Err   error // a FieldError (missing reference, name taken), ErrNotFound or ErrConflict, perhaps wrapped
}

func (e *EditError) Error() string { return fmt.Sprintf("%s %s: %v", e.Kind, e.ID, e.Err) }

// Unwrap returns the reason.
func (e *EditError) Unwrap() error { return e.Err }
