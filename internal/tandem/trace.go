package tandem

import "strings"

// TraceFilter chooses among the SIP messages that pass. Its zero value chooses all that its asker
// may see, but for the proxy's own probes.
type TraceFilter struct {
	Account string // "" means any
	Call    string // id of a call, with those that continue it; "" means any
	CallID  string // SIP Call-ID; "" means any
	Party   string // caller or called party, also without its host, or who sent or got the message
	Method  string // of a request, and of what a response answers; "" means any
	Raw     bool   // with the whole message
	Probes  bool   // with the proxy's own OPTIONS to nodes, and their answers
}

// TraceLine is one SIP message as a trace shows it: an arrow, and whose it is.
type TraceLine struct {
	Arrow
	Missed  uint64 `json:"missed,omitempty" explain:"So many messages before this one are not shown, because the reader was too slow. A line without text says no more than that."`
	Method  string `json:"method,omitempty" explain:"Method of the request, or of the one that a response answers."`
	CallID  string `json:"callId,omitempty" explain:"SIP Call-ID."`
	Caller  string `json:"caller,omitempty" explain:"Who stands in From, as user@host."`
	Called  string `json:"called,omitempty" explain:"Who stands in To, as user@host."`
	Call    string `json:"call,omitempty" explain:"Id of the call that it belongs to, if one is known."`
	Joined  string `json:"joined,omitempty" explain:"Id of the call that this one continues."`
	Account string `json:"account,omitempty" explain:"Account that the call belongs to, if known."`
	Raw     string `json:"raw,omitempty" explain:"The whole message, secrets left out, if asked for."`
}

// Match reports whether a message is one of those that f chooses; Raw and Probes do not matter.
func (f *TraceFilter) Match(l *TraceLine) bool {
	switch {
	case f.Account != "" && l.Account != f.Account,
		f.Call != "" && l.Call != f.Call && l.Joined != f.Call,
		f.CallID != "" && l.CallID != f.CallID,
		f.Method != "" && !strings.EqualFold(l.Method, f.Method):
		return false
	}
	return f.Party == "" || f.Party == l.From || f.Party == l.To || isParty(f.Party, l.Caller) || isParty(f.Party, l.Called)
}

// Validate reports what cannot be asked.
func (f *TraceFilter) Validate() error {
	if f.Call != "" {
		if _, err := CallTime(f.Call); err != nil {
			return FieldError{Field: "call", Reason: "is not a call's id: 20 letters and digits"}
		}
	}
	return nil
}
