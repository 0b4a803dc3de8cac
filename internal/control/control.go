// Package control is the management door: HTTP and JSON over a unix socket, both ends of it.
//
// The Server decodes declarative documents, checks them whole before the first write, asks who is
// calling, and hands edits to the store. The Client is what the command line and other processes
// use. Between them stands one table of operations (routes.go), from which the routes, the OpenAPI
// description and its golden file in docs/ are made.
//
// It promises:
//   - A file of documents is refused whole, with file, line, field and reason, before anything of it
//     is written. What is written is written in batches, each one synced commit, and applying
//     the same file again changes nothing.
//   - Memory grows by about 100 octets a document of a file, never with the file's size.
//   - No secret leaves: not in an answer, a difference, an error or a log line.
//   - Another tenant's object looks exactly like one that does not exist.
//
// What a change means is left to the parts that follow the store; control only waits, when asked,
// until they say that they serve it.
package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tandem/internal/tandem"
)

// Config says where the door is.
type Config struct {
	// Socket is the unix socket's path; its folder is made when it does not exist.
	Socket string `yaml:"socket"`
	// Spool is the folder for bodies that are too long to be held in memory; "" means the system's
	// folder for temporary files. Spooled bodies have no name and vanish with the process.
	Spool string `yaml:"spool"`
	// MaxDocuments bounds a body of documents, in octets. Zero means 8 GiB.
	MaxDocuments int64 `yaml:"maxDocuments"`
	// MaxRequests bounds the requests under way at once; more get 503. Zero means 64.
	MaxRequests int `yaml:"maxRequests"`
}

// Validate reports what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.Socket == "":
		return tandem.FieldError{Field: "socket", Reason: "is missing: the path of the unix socket"}
	case len(c.Socket) > maxSocketPath:
		return tandem.FieldError{Field: "socket", Reason: fmt.Sprintf("is %d octets long; a unix socket's path has at most %d", len(c.Socket), maxSocketPath)}
	case c.MaxDocuments < 0:
		return tandem.FieldError{Field: "maxDocuments", Reason: "cannot be negative"}
	case c.MaxRequests < 0:
		return tandem.FieldError{Field: "maxRequests", Reason: "cannot be negative"}
	}
	return nil
}

// maxSocketPath is the room in sockaddr_un, less the final zero.
const maxSocketPath = 107

// Store is the durable memory as control needs it for changing it.
type Store interface {
	// Append commits edits as one synced batch.
	Append(ctx context.Context, by tandem.Principal, edits []tandem.Edit) (tandem.Revision, error)
	// Check makes the checks of Append and writes nothing; references may be satisfied by edits.
	Check(ctx context.Context, by tandem.Principal, edits []tandem.Edit) error
}

// Reader is the durable memory as control needs it for looking.
type Reader interface {
	Get(ctx context.Context, by tandem.Principal, kind tandem.Kind, id string) (tandem.Object, error)
	// List returns at most limit objects of a kind with ids after the given one, in order of id;
	// owner "" means all that by may see.
	List(ctx context.Context, by tandem.Principal, kind tandem.Kind, owner, after string, limit int) ([]tandem.Object, error)
}

// Seal closes and opens secrets that are kept at rest.
type Seal interface {
	Seal(plain []byte, context string) ([]byte, error)
	Unseal(sealed []byte, context string) ([]byte, error)
}

// Deps is what only code can give. Store, Reader and Seal are needed; where another one is nil its
// operations answer 501.
type Deps struct {
	Store  Store
	Reader Reader
	Seal   Seal
	// CheckZone reports faults in a zone's plain records.
	CheckZone func(*tandem.Zone) error
	// CheckRecordSet reports faults in a record set's records.
	CheckRecordSet func(*tandem.RecordSet) error
	// Trace explains what DNS answers for a name to clients of a network (invalid: this machine).
	Trace func(name string, from netip.Prefix) ([]tandem.Step, error)
	// ZoneStates, ZoneState and RefreshZone look at zones among name servers, and have one refreshed.
	ZoneStates    func(after string, limit int) []tandem.ZoneState
	ZoneState     func(zone string) (tandem.ZoneState, error)
	RefreshZone   func(zone string, anew bool) error
	Registrations func(by tandem.Principal, account string) []tandem.Binding
	// Calls returns the calls under way, and some that ended just now.
	Calls func(by tandem.Principal) []tandem.Call
	// CallLog is where calls are recorded. Without it only Calls are shown.
	CallLog CallLog
	// Ladder returns a call's messages, tandem.ErrNotFound when they are not remembered. Nil shows none.
	Ladder func(ctx context.Context, by tandem.Principal, id string) ([]tandem.Arrow, error)
	// SIPTrace gives fn the SIP messages that f chooses and by may see, as they pass, until ctx ends. It first
	// calls fn without lines, once it sees what passes.
	SIPTrace func(ctx context.Context, by tandem.Principal, f tandem.TraceFilter, fn func([]tandem.TraceLine) error) error
	// Hangup ends a call; it returns when both sides were told.
	Hangup func(ctx context.Context, by tandem.Principal, id, reason string) error
	// HangupAll ends the calls that the request chooses and returns how many; the error says which
	// sides did not answer.
	HangupAll func(ctx context.Context, by tandem.Principal, request HangupAllRequest) (int, error)
	Balancing Balancing
	// ReportLoad takes the load that a node has: 0 idle, 1 full.
	ReportLoad func(node string, load float64)
	// Permit makes a secret URL from which a device can fetch its configuration once.
	Permit func(ctx context.Context, by tandem.Principal, device string, ttl time.Duration) (url string, err error)
	// Served returns once every part serves the revision.
	Served func(ctx context.Context, rev tandem.Revision) error
	Status func() Status
	// Verify re-reads everything that is stored.
	Verify func(ctx context.Context) (Verified, error)
	// Backup writes a copy of the store into a folder that does not exist yet.
	Backup func(ctx context.Context, dir string) error
}

func (d Deps) validate() error {
	if d.Store == nil || d.Reader == nil || d.Seal == nil {
		return errors.New("control: store, reader and seal are needed")
	}
	return nil
}

// Status says how a running tandem is.
type Status struct {
	Version  string          `json:"version" explain:"Version of the program."`
	Started  time.Time       `json:"started" explain:"When it started."`
	Epoch    uint64          `json:"epoch" explain:"Epoch of the store; it changes with each restore."`
	Revision tandem.Revision `json:"revision" explain:"Last committed revision."`
	Parts    []Part          `json:"parts" explain:"The parts that run."`
	Counts   []Count         `json:"counts,omitempty" explain:"How much there is of what."`
}

// Part is one running part of a tandem.
type Part struct {
	Name      string          `json:"name" explain:"Name of the part, such as dnsd."`
	State     string          `json:"state" explain:"ok, or what is wrong."`
	Serves    tandem.Revision `json:"serves,omitempty" explain:"Revision that the part serves."`
	Addresses []string        `json:"addresses,omitempty" explain:"Where it listens."`
}

// Count is how many there are of one thing.
type Count struct {
	Name  string `json:"name" explain:"What is counted, such as accounts or registrations."`
	Value int64  `json:"value" explain:"How many."`
}

// Verified is the outcome of reading the whole store.
type Verified struct {
	Values   int64    `json:"values" explain:"Values read."`
	Problems []string `json:"problems,omitempty" explain:"What is damaged; none when the store is sound."`
}
