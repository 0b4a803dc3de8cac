package tandem

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// CallState is where a call is between its first INVITE and its end.
type CallState string

// Call states. Held, conferenced and forwarded are answered calls in which more happened.
const (
	CallTrying      CallState = "trying"
	CallRinging     CallState = "ringing"
	CallAnswered    CallState = "answered"
	CallHeld        CallState = "held"
	CallConferenced CallState = "conferenced"
	CallForwarded   CallState = "forwarded"
	CallEnded       CallState = "ended"
)

// CallStates returns every state, in the order in which a call can first reach them.
func CallStates() []CallState {
	return []CallState{CallTrying, CallRinging, CallAnswered, CallHeld, CallConferenced, CallForwarded, CallEnded}
}

// CallEnder is who ended a call.
type CallEnder string

// Who can end a call. The reaper ends calls of which nothing was heard any more; the appliance
// those that it refused, or that somebody told it to end.
const (
	EndedByCaller    CallEnder = "caller"
	EndedByCallee    CallEnder = "callee"
	EndedByAppliance CallEnder = "appliance"
	EndedByReaper    CallEnder = "reaper"
)

// Bounds of a call's record. What is longer is cut by Bound; dialogs are never cut.
const (
	maxCallText    = 256  // octets of any one text
	maxCallGroups  = 8    // groups, and further Call-IDs
	maxCallMoments = 32   // moments kept: the first ones and the last
	MaxCallDialogs = 2048 // octets of both dialogs in the store
)

// Call is the record of one communication as one of our accounts had it: what is shown while it
// lives, and what is kept when it has ended or was refused. Its times are wall clock, in UTC.
type Call struct {
	ID            string       `json:"id" cbor:"1,keyasint" explain:"The appliance's own id of the call. Ids sort by the time at which calls began."`
	CallID        string       `json:"callId" cbor:"2,keyasint" explain:"SIP Call-ID of the caller's dialog."`
	CallIDs       []string     `json:"callIds,omitempty" cbor:"3,keyasint,omitempty" explain:"Further Call-IDs of the same call."`
	Account       string       `json:"account" cbor:"4,keyasint" explain:"Account that the call belongs to."`
	Groups        []string     `json:"groups,omitempty" cbor:"5,keyasint,omitempty" explain:"Groups in which the call holds a slot; of a refused one, those that it would have touched."`
	From          string       `json:"from" cbor:"6,keyasint" explain:"Caller, as user@host."`
	To            string       `json:"to" cbor:"7,keyasint" explain:"Called party, as user@host."`
	User          string       `json:"user,omitempty" cbor:"8,keyasint,omitempty" explain:"User of the account who calls or is called, if known."`
	Device        string       `json:"device,omitempty" cbor:"9,keyasint,omitempty" explain:"Device that calls or is called, if known."`
	Type          string       `json:"type" cbor:"10,keyasint" explain:"Request type, or core for calls from feature servers."`
	Route         string       `json:"route,omitempty" cbor:"11,keyasint,omitempty" explain:"Forwarding name by which it was routed."`
	Cluster       string       `json:"cluster,omitempty" cbor:"12,keyasint,omitempty" explain:"Cluster on which it was placed."`
	Node          string       `json:"node,omitempty" cbor:"13,keyasint,omitempty" explain:"Node that holds the dialog."`
	State         CallState    `json:"state" cbor:"14,keyasint" explain:"trying, ringing, answered, held, conferenced, forwarded or ended."`
	Started       time.Time    `json:"started" cbor:"15,keyasint" explain:"When the INVITE was accepted for processing."`
	Ringing       time.Time    `json:"ringing,omitzero" cbor:"16,keyasint,omitzero" explain:"When the first 180 or 183 passed."`
	Answered      time.Time    `json:"answered,omitzero" cbor:"17,keyasint,omitzero" explain:"When the 2xx passed."`
	Ended         time.Time    `json:"ended,omitzero" cbor:"18,keyasint,omitzero" explain:"When it ended."`
	Cause         string       `json:"cause,omitempty" cbor:"19,keyasint,omitempty" explain:"How it ended: bye, cancel, a status code, timeout, hangup, or the unmet condition of a refusal."`
	EndedBy       CallEnder    `json:"endedBy,omitempty" cbor:"20,keyasint,omitempty" explain:"Who ended it: caller, callee, appliance or reaper."`
	Status        uint16       `json:"status,omitempty" cbor:"21,keyasint,omitempty" explain:"Final SIP status of its INVITE."`
	Reason        string       `json:"reason,omitempty" cbor:"22,keyasint,omitempty" explain:"Text of the Reason header that ended it."`
	Session       string       `json:"session,omitempty" cbor:"23,keyasint,omitempty" explain:"What its legs have in common across a feature server: our call token, or the Session-ID (RFC 7989)."`
	Joined        string       `json:"joined,omitempty" cbor:"24,keyasint,omitempty" explain:"Id of the call that this one continues behind a feature server; it holds the slots."`
	Quality       CallQuality  `json:"quality,omitzero" cbor:"25,keyasint,omitzero" explain:"What was measured."`
	TimeUncertain bool         `json:"timeUncertain,omitempty" cbor:"26,keyasint,omitempty" explain:"The clock was not synchronised when it began."`
	Moments       []CallMoment `json:"moments,omitempty" cbor:"27,keyasint,omitempty" explain:"Its states, in order."`
	// Expires is when its session timer (RFC 4028), else its greatest age, gives it up.
	Expires time.Time `json:"expires,omitzero" cbor:"28,keyasint,omitzero" explain:"When it is given up unless something is heard of it."`
	// Dialogs hold what a request of our own in the dialog needs, caller's side first. They are kept
	// for answered calls that have not ended, for restarts, and are shown to nobody.
	Dialogs  []Dialog `json:"-" cbor:"29,keyasint,omitempty"`
	Separate bool     `json:"separate,omitempty" cbor:"30,keyasint,omitempty" explain:"It came from a feature server and could not be told to continue another call, so that it counts as one of its own."`
}

// CallQuality is what was measured of a call. Zero means unknown.
type CallQuality struct {
	Trying   uint32 `json:"tryingMs,omitempty" cbor:"1,keyasint,omitempty" explain:"From INVITE to the node's first answer of any kind, in milliseconds."`
	Ringing  uint32 `json:"ringingMs,omitempty" cbor:"2,keyasint,omitempty" explain:"From INVITE to the first 180 or 183, in milliseconds."`
	Answer   uint32 `json:"answerMs,omitempty" cbor:"3,keyasint,omitempty" explain:"From INVITE to the 2xx, in milliseconds."`
	Attempts uint16 `json:"attempts,omitempty" cbor:"4,keyasint,omitempty" explain:"Targets that were tried."`
	MOS      uint16 `json:"mosHundredths,omitempty" cbor:"5,keyasint,omitempty" explain:"Mean opinion score that its phones reported (RFC 6035), times 100."`
	Reports  uint16 `json:"voiceReports,omitempty" cbor:"6,keyasint,omitempty" explain:"Reports that the score is the mean of."`
}

// CallMoment is when a call came into a state.
type CallMoment struct {
	State CallState `json:"state" cbor:"1,keyasint" explain:"The state."`
	Time  time.Time `json:"time" cbor:"2,keyasint" explain:"When the call came into it."`
}

// Dialog is one side of an answered call: what a request that we send towards it is made of
// (RFC 3261 section 12.2.1.1).
type Dialog struct {
	CallID    string         `json:"-" cbor:"1,keyasint"`
	Local     string         `json:"-" cbor:"2,keyasint"` // URI of the other side, as From
	LocalTag  string         `json:"-" cbor:"3,keyasint"`
	Remote    string         `json:"-" cbor:"4,keyasint"` // URI of this side, as To
	RemoteTag string         `json:"-" cbor:"5,keyasint"`
	CSeq      uint32         `json:"-" cbor:"6,keyasint"`           // last one sent towards this side
	Routes    []string       `json:"-" cbor:"7,keyasint,omitempty"` // Route values beyond ourselves, in order
	Target    string         `json:"-" cbor:"8,keyasint"`           // remote target, the Request-URI
	Hop       netip.AddrPort `json:"-" cbor:"9,keyasint"`           // where this side was last reached
	Transport Transport      `json:"-" cbor:"10,keyasint"`
	Listener  string         `json:"-" cbor:"11,keyasint,omitempty"`
}

// CallEvent is one change of a call's record. Seq grows by one with each and survives restarts, so
// that a subscriber comes back with the last one it saw.
type CallEvent struct {
	Seq   Revision  `json:"seq" explain:"Number of the event; resume after the last one seen."`
	State CallState `json:"state" explain:"State that the call is in since."`
	Time  time.Time `json:"time" explain:"When the event was recorded."`
	Call  Call      `json:"call" explain:"The record as it then was."`
}

// CallFilter chooses among call records. Its zero value chooses all that its caller may see, newest first.
type CallFilter struct {
	Account string    // "" means any
	From    time.Time // begun at or after; zero means any
	To      time.Time // begun before; zero means any
	Party   string    // caller, called party, user or device; a caller or called party also without its host
	State   CallState // "" means any
	Cause   string    // "" means any
	After   string    // id of the last call of the page before, "" for the first page
	Limit   int       // at most so many; zero, and more than 1,000, mean 1,000
	Oldest  bool      // oldest first
}

// CallPage is some calls, and where the next ones begin.
type CallPage struct {
	Items []Call `json:"items" explain:"Calls, newest first unless asked otherwise."`
	Next  string `json:"next,omitempty" explain:"What to ask for after this page; absent on the last one. A page may be short, or empty, and still have a next."`
}

// Arrow is one message in a call's ladder. One that goes from nobody to nobody is a remark.
type Arrow struct {
	Time time.Time `json:"time" explain:"When it passed."`
	From string    `json:"from" explain:"Who sent it: a node, a peer, a user name, an address, or tandem itself."`
	To   string    `json:"to" explain:"Who got it."`
	Text string    `json:"text" explain:"Method, or status and method; then in brackets whether it came again, was malformed, or could not be sent."`
}

// callIDs is the encoding of call ids: its letters sort like the octets that they stand for.
func callIDs() *base32.Encoding {
	return base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
}

// NewCallID makes the id of a call that begins now: 20 letters and digits that sort by time, to the
// microsecond, and are unique by 40 random bits among those of one microsecond.
func NewCallID(now time.Time) string {
	var b [13]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMicro())<<8)
	rand.Read(b[7:12])
	return callIDs().EncodeToString(b[:12])
}

// FirstCallID returns the least id that NewCallID could make at that time or later.
func FirstCallID(t time.Time) string {
	var b [12]byte
	if us := t.UnixMicro(); us > 0 {
		binary.BigEndian.PutUint64(b[:], uint64(us)<<8)
	}
	return callIDs().EncodeToString(b[:])
}

// CallTime returns the time that an id of NewCallID's holds, to the microsecond.
func CallTime(id string) (time.Time, error) {
	b, err := callIDs().DecodeString(id)
	if err != nil || len(b) != 12 || callIDs().EncodeToString(b) != id {
		return time.Time{}, FieldError{Field: "id", Reason: "is not a call's id: 20 letters and digits"}
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b) >> 8)).UTC(), nil
}

// Enter notes that the call came into a state: its moment, and the time of the state's own. A call
// that has ended stays so. Copies of c made before are not touched.
func (c *Call) Enter(state CallState, at time.Time) {
	if c.State == CallEnded {
		return
	}
	at = at.UTC()
	first := func(t *time.Time) {
		if t.IsZero() {
			*t = at
		}
	}
	switch state {
	case CallTrying:
		first(&c.Started)
	case CallRinging:
		first(&c.Ringing)
	case CallAnswered:
		first(&c.Answered)
	case CallEnded:
		first(&c.Ended)
		c.Dialogs, c.Expires = nil, time.Time{}
	}
	c.State = state
	if n := len(c.Moments); n >= maxCallMoments {
		c.Moments = slices.Clone(c.Moments)
		c.Moments[n-1] = CallMoment{state, at}
		return
	}
	c.Moments = append(slices.Clip(c.Moments), CallMoment{state, at})
}

// Timeline returns the call's moments; those that its times tell when none were noted.
func (c *Call) Timeline() []CallMoment {
	if len(c.Moments) > 0 {
		return c.Moments
	}
	var found []CallMoment
	for _, m := range []CallMoment{{CallTrying, c.Started}, {CallRinging, c.Ringing}, {CallAnswered, c.Answered}, {CallEnded, c.Ended}} {
		if !m.Time.IsZero() {
			found = append(found, m)
		}
	}
	return found
}

// WasAnswered reports whether the call was ever answered.
func (c *Call) WasAnswered() bool { return !c.Answered.IsZero() }

// Bound cuts what a stranger may have made long: each text to 256 octets, groups and further
// Call-IDs to eight. Lists are copied before they are cut.
func (c *Call) Bound() {
	for _, text := range []*string{
		&c.CallID, &c.Account, &c.From, &c.To, &c.User, &c.Device, &c.Type, &c.Route, &c.Cluster, &c.Node,
		&c.Cause, (*string)(&c.EndedBy), &c.Reason, &c.Session, &c.Joined,
	} {
		*text = cutText(*text)
	}
	for _, list := range []*[]string{&c.CallIDs, &c.Groups} {
		if *list == nil {
			continue
		}
		*list = slices.Clone((*list)[:min(len(*list), maxCallGroups)])
		for i, text := range *list {
			(*list)[i] = cutText(text)
		}
	}
	if len(c.Moments) > maxCallMoments {
		c.Moments = slices.Concat(c.Moments[:maxCallMoments-1], c.Moments[len(c.Moments)-1:])
	}
}

// cutText cuts text to its bound, between two letters.
func cutText(text string) string {
	if len(text) <= maxCallText {
		return text
	}
	end := maxCallText
	for end > maxCallText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end]) // the rest need not be kept in memory
}

// Validate reports what keeps a call from being recorded.
func (c *Call) Validate() error {
	if _, err := CallTime(c.ID); err != nil {
		return err
	}
	var errs FieldErrors
	if !slices.Contains(CallStates(), c.State) {
		errs.add("state", "%q is not a state of a call", c.State)
	}
	if c.Started.IsZero() {
		errs.add("started", "is missing")
	}
	if c.State == CallEnded && c.Ended.IsZero() {
		errs.add("ended", "is missing: the call has ended")
	}
	return errs.err()
}

// Match reports whether a call is one of those that f chooses; After and Limit do not matter.
func (f *CallFilter) Match(c *Call) bool {
	switch {
	case f.Account != "" && c.Account != f.Account,
		f.State != "" && c.State != f.State,
		f.Cause != "" && c.Cause != f.Cause,
		!f.From.IsZero() && c.Started.Before(f.From),
		!f.To.IsZero() && !c.Started.Before(f.To):
		return false
	}
	return f.Party == "" || f.Party == c.User || f.Party == c.Device || isParty(f.Party, c.From) || isParty(f.Party, c.To)
}

// isParty reports whether what was asked for is a party, given as user@host, or its user.
func isParty(asked, party string) bool {
	user, _, _ := strings.Cut(party, "@")
	return asked == party || asked == user
}

// Validate reports what cannot be asked.
func (f *CallFilter) Validate() error {
	var errs FieldErrors
	if f.State != "" && !slices.Contains(CallStates(), f.State) {
		errs.add("state", "%q is not a state of a call: trying, ringing, answered, held, conferenced, forwarded or ended", f.State)
	}
	if f.After != "" {
		if _, err := CallTime(f.After); err != nil {
			errs.add("after", "%.40q is not a call's id", f.After)
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		errs.add("to", "is not after from")
	}
	if f.Limit < 0 {
		errs.add("limit", "is negative")
	}
	return errs.err()
}

// ErrTrimmed says that what a follower asks to go on from is no longer kept, or is not there yet.
var ErrTrimmed = errors.New("not in the change log")

// ErrAway says that nothing can be read or written for a moment, because another process takes this
// one's place.
var ErrAway = errors.New("the store is being handed to a new process; try again in a moment")
