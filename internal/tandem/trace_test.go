package tandem_test

import (
	"testing"
	"time"

	"tandem/internal/tandem"
)

func TestTraceFilter(t *testing.T) {
	id, other := tandem.NewCallID(time.Now()), tandem.NewCallID(time.Now())
	line := tandem.TraceLine{
		Arrow:  tandem.Arrow{From: "pstn", To: "tandem", Text: "INVITE"},
		Method: "INVITE", CallID: "c1", Caller: "+33123@pstn.example", Called: "030100@voice.example", Call: id, Joined: other, Account: "1001",
	}
	cases := []struct {
		name string
		f    tandem.TraceFilter
		want bool
	}{
		{"everything", tandem.TraceFilter{}, true},
		{"its account", tandem.TraceFilter{Account: "1001"}, true},
		{"another account", tandem.TraceFilter{Account: "100"}, false},
		{"its call", tandem.TraceFilter{Call: id}, true},
		{"the call that it continues", tandem.TraceFilter{Call: other}, true},
		{"another call", tandem.TraceFilter{Call: tandem.NewCallID(time.Now())}, false},
		{"its Call-ID", tandem.TraceFilter{CallID: "c1"}, true},
		{"another Call-ID", tandem.TraceFilter{CallID: "C1"}, false},
		{"its method", tandem.TraceFilter{Method: "invite"}, true},
		{"another method", tandem.TraceFilter{Method: "BYE"}, false},
		{"the caller", tandem.TraceFilter{Party: "+33123"}, true},
		{"the called, with host", tandem.TraceFilter{Party: "030100@voice.example"}, true},
		{"who sent it", tandem.TraceFilter{Party: "pstn"}, true},
		{"a part of a number", tandem.TraceFilter{Party: "0301"}, false},
		{"its account and another method", tandem.TraceFilter{Account: "1001", Method: "BYE"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.f.Match(&line); got != c.want {
				t.Errorf("%+v.Match = %v, want %v", c.f, got, c.want)
			}
		})
	}
	if err := (&tandem.TraceFilter{Call: id}).Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	if (&tandem.TraceFilter{Call: "x"}).Validate() == nil {
		t.Error("a call that is no id passes")
	}
}
