package control

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"tandem/internal/tandem"
)

// CallLog is the durable memory of calls as control needs it.
type CallLog interface {
	// Calls returns a page of records, as far as by may see them.
	Calls(ctx context.Context, by tandem.Principal, f tandem.CallFilter) (tandem.CallPage, error)
	Call(ctx context.Context, by tandem.Principal, id string) (tandem.Call, error)
	// CallEvents returns the numbers after which FollowCalls can begin, the first and the last.
	CallEvents() (first, last tandem.Revision)
	// FollowCalls gives fn events until ctx ends, and how far it came, also past others' events.
	FollowCalls(ctx context.Context, by tandem.Principal, after tandem.Revision, fn func(events []tandem.CallEvent, reached tandem.Revision) error) error
}

// CallDetail is all that is known of one call.
type CallDetail struct {
	Call     tandem.Call         `json:"call" explain:"The call's record."`
	Timeline []tandem.CallMoment `json:"timeline" explain:"The states that it came through, in order."`
	Ladder   []tandem.Arrow      `json:"ladder,omitempty" explain:"Its messages, in order, while they are remembered."`
}

// HangupRequest says why a call is ended.
type HangupRequest struct {
	Reason string `json:"reason,omitempty" explain:"Text of the Reason header that both sides get, at most 128 octets."`
}

// HangupAllRequest chooses calls and says why they are ended.
type HangupAllRequest struct {
	Account string `json:"account,omitempty" explain:"Only calls of this account. An account or a device must be named."`
	Device  string `json:"device,omitempty" explain:"Only calls of this device."`
	Pending bool   `json:"pending,omitempty" explain:"Only calls that are not answered yet."`
	Reason  string `json:"reason,omitempty" explain:"Text of the Reason header that all sides get, at most 128 octets."`
}

// HangupAllResult is what ending many calls came to.
type HangupAllResult struct {
	Calls  int    `json:"calls" explain:"Calls that were told to end."`
	Failed string `json:"failed,omitempty" explain:"Which sides did not answer; their calls have ended here all the same."`
}

// maxReason bounds the text of a Reason header.
const maxReason = 128

// callOperations are those about calls.
func callOperations() []operation {
	account := parameter{"account", "Only those of this account."}
	return []operation{
		{
			id: "listCalls", method: http.MethodGet, path: "/v1/calls", gives: tandem.CallPage{}, handle: (*call).calls,
			summary: "Lists calls, those that have ended and those under way, newest first, a page at a time.",
			query: []parameter{
				account,
				{"from", "Only calls that began at this time (RFC 3339) or later."},
				{"to", "Only calls that began before this time (RFC 3339)."},
				{"party", "Only calls of this caller or called party, with or without its host, or of this user or device."},
				{"state", "Only calls in this state."},
				{"cause", "Only calls that ended so, such as bye, cancel, 486."},
				{"order", "oldest: oldest first."},
				{"after", "The next of the page before."},
				{"limit", "At most so many that are recorded, 1 to 1000. Default 100."},
			},
		}, {
			id: "followCalls", method: http.MethodGet, path: "/v1/calls/events", gives: tandem.CallEvent{}, handle: (*call).callEvents, streams: true,
			summary: "Gives the events of calls as they happen: server-sent events if asked for, else one JSON value a line, with empty lines between while nothing happens. A reader that is cut off comes back with the last number it saw.",
			query: []parameter{
				account,
				{"after", "Begin after the event of this number; the header Last-Event-ID says the same. Absent: with the next event. 410 when it is no longer kept."},
				{"last", "Begin with the last so many events, as far as they are kept."},
				{"follow", "0: end with the last event that there is."},
			},
		}, {
			id: "showCall", method: http.MethodGet, path: "/v1/calls/{id}", gives: CallDetail{}, handle: (*call).callDetail,
			summary: "Returns one call: its record, its states, its messages while they are remembered.",
		}, {
			id: "hangupCall", method: http.MethodPost, path: "/v1/calls/{id}/hangup", takes: HangupRequest{}, gives: CallDetail{}, handle: (*call).hangup,
			summary: "Ends a call, all its legs: BYE to both sides, or CANCEL while it is not answered.",
		}, {
			id: "hangupCalls", method: http.MethodPost, path: "/v1/calls/hangup", takes: HangupAllRequest{}, gives: HangupAllResult{}, handle: (*call).hangupAll,
			summary: "Ends all calls of an account or device, or those that are not answered yet.",
		},
	}
}

// calls lists recorded calls and live ones. What lives is known better than what is recorded of it.
func (c *call) calls() error {
	deps := &c.server.deps
	if deps.Calls == nil && deps.CallLog == nil {
		return c.absent("sip")
	}
	f, err := c.callFilter()
	if err != nil {
		return err
	}
	var page tandem.CallPage
	if deps.CallLog != nil {
		if page, err = deps.CallLog.Calls(c.r.Context(), c.by, f); err != nil {
			return err
		}
	}
	if !settled(&page, &f, time.Now()) {
		page.Items = merge(page, c.live(), &f)
	}
	if !c.by.Admin {
		page.Items = slices.DeleteFunc(page.Items, func(x tandem.Call) bool { return !c.by.MaySee(x.Account) })
	}
	if page.Items == nil {
		page.Items = []tandem.Call{}
	}
	return c.answer(page)
}

// settled reports whether a page holds only calls that are too old to be alive, so that a long
// export does not ask the proxy for all it has with each page.
func settled(page *tandem.CallPage, f *tandem.CallFilter, now time.Time) bool {
	const longest = 48 * time.Hour // no call lives as long
	newest := page.Next
	if !f.Oldest {
		newest = f.After
	}
	return newest != "" && newest < tandem.FirstCallID(now.Add(-longest))
}

// live returns the calls that the proxy knows and the asker may see.
func (c *call) live() []tandem.Call {
	if c.server.deps.Calls == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.server.deps.Calls(c.by)), func(x tandem.Call) bool { return !c.by.MaySee(x.Account) })
}

// merge puts those live calls that f chooses into a page of records, where their ids belong, in the
// place of what is recorded of them. A record that has ended is left as it is. Each page takes the
// live calls between the one before and the next, so that all pages together have each call once.
func merge(page tandem.CallPage, live []tandem.Call, f *tandem.CallFilter) []tandem.Call {
	order := func(a, b string) int {
		if f.Oldest {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(b, a)
	}
	over := make(map[string]bool)
	for i := range page.Items {
		over[page.Items[i].ID] = page.Items[i].State == tandem.CallEnded
	}
	better := make(map[string]bool)
	live = slices.DeleteFunc(live, func(x tandem.Call) bool {
		if over[x.ID] || f.After != "" && order(x.ID, f.After) <= 0 || page.Next != "" && order(x.ID, page.Next) > 0 {
			return true
		}
		better[x.ID] = true
		return !f.Match(&x)
	})
	kept := slices.DeleteFunc(page.Items, func(x tandem.Call) bool { return better[x.ID] })
	out := append(kept, live...)
	slices.SortStableFunc(out, func(a, b tandem.Call) int { return order(a.ID, b.ID) })
	return out
}

// callFilter reads what the query chooses.
func (c *call) callFilter() (tandem.CallFilter, error) {
	q := c.r.URL.Query()
	f := tandem.CallFilter{
		Party: q.Get("party"), State: tandem.CallState(q.Get("state")), Cause: q.Get("cause"), After: q.Get("after"),
		Oldest: q.Get("order") == "oldest",
	}
	var err error
	if f.Account, err = c.account(); err != nil {
		return f, err
	}
	if order := q.Get("order"); order != "" && !f.Oldest {
		return f, refuse(http.StatusBadRequest, "order: %.40q is not oldest", order)
	}
	for name, to := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if text := q.Get(name); text != "" {
			if *to, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return f, refuse(http.StatusBadRequest, "%s: %.40q is not a time such as 2026-11-20T08:00:00Z", name, text)
			}
		}
	}
	limit, err := c.query("limit", 100, 1000)
	if err != nil {
		return f, err
	}
	if limit == 0 {
		return f, refuse(http.StatusBadRequest, "limit: is 1 to 1000")
	}
	f.Limit = int(limit)
	if err := f.Validate(); err != nil {
		return f, refuse(http.StatusBadRequest, "%v", err)
	}
	return f, nil
}

// find returns the call in the path: as it lives, else as it is recorded.
func (c *call) find() (tandem.Call, error) {
	deps := &c.server.deps
	id := c.r.PathValue("id")
	if deps.Calls == nil && deps.CallLog == nil {
		return tandem.Call{}, c.absent("sip")
	}
	missing := refuse(http.StatusNotFound, "Call %.80s: not found", id)
	var recorded tandem.Call
	err := error(missing)
	if deps.CallLog != nil {
		recorded, err = deps.CallLog.Call(c.r.Context(), c.by, id)
		if err == nil && (recorded.State == tandem.CallEnded || !c.by.MaySee(recorded.Account)) {
			if !c.by.MaySee(recorded.Account) {
				return tandem.Call{}, missing
			}
			return recorded, nil
		}
	}
	for _, x := range c.live() {
		if x.ID == id {
			return x, nil
		}
	}
	if errors.Is(err, tandem.ErrNotFound) {
		err = missing
	}
	return recorded, err
}

func (c *call) callDetail() error {
	found, err := c.find()
	if err != nil {
		return err
	}
	detail := CallDetail{Call: found, Timeline: found.Timeline()}
	if c.server.deps.Ladder != nil {
		if detail.Ladder, err = c.server.deps.Ladder(c.r.Context(), c.by, found.ID); err != nil && !errors.Is(err, tandem.ErrNotFound) {
			return err
		}
	}
	return c.answer(detail)
}

func (c *call) hangup() error {
	var request HangupRequest
	if err := c.read(&request); err != nil {
		return err
	}
	found, err := c.find()
	if err != nil {
		return err
	}
	if c.server.deps.Hangup == nil {
		return c.endsNoCalls()
	}
	if err := checkReason(request.Reason); err != nil {
		return err
	}
	if found.State == tandem.CallEnded {
		return refuse(http.StatusConflict, "call %s has ended already", found.ID)
	}
	if err := c.server.deps.Hangup(c.r.Context(), c.by, found.ID, request.Reason); err != nil {
		return err
	}
	if found, err = c.find(); err != nil {
		return err
	}
	return c.answer(CallDetail{Call: found, Timeline: found.Timeline()})
}

func (*call) endsNoCalls() error {
	return refuse(http.StatusNotImplemented, "this tandem has no part that can end calls")
}

func checkReason(text string) error {
	switch {
	case len(text) > maxReason:
		return refuse(http.StatusUnprocessableEntity, "reason: has %d octets, at most %d are allowed", len(text), maxReason)
	case slices.ContainsFunc([]byte(text), func(b byte) bool { return b < ' ' || b == 0x7f }):
		return refuse(http.StatusUnprocessableEntity, "reason: has a control character")
	}
	return nil
}

// hangupAll ends the calls of an account or a device. Nobody ends all there are by leaving a name out.
func (c *call) hangupAll() error {
	var request HangupAllRequest
	if err := c.read(&request); err != nil {
		return err
	}
	if c.server.deps.HangupAll == nil {
		return c.endsNoCalls()
	}
	if err := checkReason(request.Reason); err != nil {
		return err
	}
	for _, x := range []struct {
		kind tandem.Kind
		id   string
	}{{tandem.KindAccount, request.Account}, {tandem.KindDevice, request.Device}} {
		if x.id == "" {
			continue
		}
		o, err := c.server.deps.Reader.Get(c.r.Context(), c.by, x.kind, x.id)
		if errors.Is(err, tandem.ErrNotFound) || err == nil && !c.by.MaySee(o.Owner()) {
			return refuse(http.StatusNotFound, "%s %.80s: not found", x.kind, x.id)
		}
		if err != nil {
			return err
		}
	}
	if request.Account == "" && request.Device == "" {
		return refuse(http.StatusUnprocessableEntity, "account: is missing, and so is device: name whose calls are to end")
	}
	n, err := c.server.deps.HangupAll(c.r.Context(), c.by, request)
	result := HangupAllResult{Calls: n}
	if err != nil {
		result.Failed = err.Error()
	}
	return c.answer(result)
}

// HangupAll ends the calls that a request chooses.
func (c *Client) HangupAll(ctx context.Context, request HangupAllRequest) (HangupAllResult, error) {
	var out HangupAllResult
	return out, c.ask(ctx, http.MethodPost, "/v1/calls/hangup", nil, request, &out)
}

// Calls returns a page of the calls that f chooses, live ones and recorded ones.
func (c *Client) Calls(ctx context.Context, f tandem.CallFilter) (tandem.CallPage, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("account", f.Account)
	set("party", f.Party)
	set("state", string(f.State))
	set("cause", f.Cause)
	set("after", f.After)
	if !f.From.IsZero() {
		set("from", f.From.UTC().Format(time.RFC3339Nano))
	}
	if !f.To.IsZero() {
		set("to", f.To.UTC().Format(time.RFC3339Nano))
	}
	if f.Oldest {
		set("order", "oldest")
	}
	if f.Limit > 0 {
		set("limit", strconv.Itoa(f.Limit))
	}
	var out tandem.CallPage
	return out, c.ask(ctx, http.MethodGet, "/v1/calls", q, nil, &out)
}

// Call returns all that is known of one call.
func (c *Client) Call(ctx context.Context, id string) (CallDetail, error) {
	var out CallDetail
	return out, c.ask(ctx, http.MethodGet, "/v1/calls/"+url.PathEscape(id), nil, nil, &out)
}

// Hangup ends a call, and returns it as it then is.
func (c *Client) Hangup(ctx context.Context, id, reason string) (CallDetail, error) {
	var out CallDetail
	return out, c.ask(ctx, http.MethodPost, "/v1/calls/"+url.PathEscape(id)+"/hangup", nil, HangupRequest{Reason: reason}, &out)
}
