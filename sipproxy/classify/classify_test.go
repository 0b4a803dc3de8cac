package classify

import (
	"slices"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

func TestType(t *testing.T) {
	rules := []tandem.Rule{
		{User: "*97", Type: "voicemail"},
		{Method: "INVITE", User: "8*", Type: "conference"},
		{Event: "message-summary", Type: "voicemail"},
		{Method: "SUBSCRIBE", Event: "presence", User: "team", Type: "presence"},
		{Method: "PUBLISH", User: "911", Type: tandem.TypeEmergency},
	}
	const at = "@abc.voice.example.net"
	cases := []struct {
		name                string
		method, event, user string
		want                tandem.RequestType
	}{
		{"register", "REGISTER", "", "", "register"},
		{"invite", "INVITE", "", "bob", "invite"},
		{"message", "MESSAGE", "", "bob", "message"},
		{"subscribe", "SUBSCRIBE", "dialog", "bob", "subscribe"},
		{"notify", "NOTIFY", "", "bob", "subscribe"},
		{"publish", "PUBLISH", "presence", "bob", "publish"},
		{"options", "OPTIONS", "", "bob", "options"},
		{"refer", "REFER", "", "bob", "invite"},
		{"unknown method", "VOICEMAIL", "", "bob", "invite"},
		{"method that names a route", "EMERGENCY", "", "bob", "invite"},
		{"method's case", "register", "", "bob", "invite"},
		{"rule by user", "INVITE", "", "*97", "voicemail"},
		{"rule by user, escaped", "INVITE", "", "%2A97", "voicemail"},
		{"no wildcard at the beginning", "INVITE", "", "x97", "invite"},
		{"longer than the rule's user", "INVITE", "", "*971", "invite"},
		{"rule by prefix", "INVITE", "", "800", "conference"},
		{"prefix alone", "INVITE", "", "8", "conference"},
		{"prefix, other method", "MESSAGE", "", "800", "message"},
		{"rule by event", "SUBSCRIBE", "message-summary", "bob", "voicemail"},
		{"rule by event with parameters", "SUBSCRIBE", " message-summary ;id=7", "bob", "voicemail"},
		{"event's beginning only", "SUBSCRIBE", "message-summary.winfo", "bob", "subscribe"},
		{"all of a rule", "SUBSCRIBE", "presence", "team", "presence"},
		{"all but one", "SUBSCRIBE", "presence", "teams", "subscribe"},
		{"no rule makes an emergency", "PUBLISH", "", "911", "publish"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Request{Method: c.method, Event: c.event, URI: "sip:" + c.user + at}
			if c.user == "" {
				r.URI = "sip:abc.voice.example.net"
			}
			if got := Type(rules, r); got != c.want {
				t.Errorf("Type(%+v) = %q, want %q", r, got, c.want)
			}
		})
	}
	if got := Type(rules, Request{Method: "INVITE", URI: "tel:8-00"}); got != "conference" {
		t.Errorf("a tel URI is of type %q, want conference", got)
	}
	if got := Type(nil, Request{Method: "INVITE", URI: "sip:*97@x"}); got != "invite" {
		t.Errorf("without rules: %q, want invite", got)
	}
	first := []tandem.Rule{{Method: "INVITE", Type: "one"}, {User: "bob", Type: "two"}}
	if got := Type(first, Request{Method: "INVITE", URI: "sip:bob@x"}); got != "one" {
		t.Errorf("the first rule does not count: %q", got)
	}
}

var numbers = []tandem.EmergencyNumber{
	{Dial: "112", URI: "urn:service:sos"},
	{Dial: "110", URI: "urn:service:sos.police"},
	{Dial: "19222", URI: "tel:+493019222"},
}

func TestEmergency(t *testing.T) {
	cases := []struct{ name, uri, want string }{
		{"number", "sip:112@abc.voice.example.net", "urn:service:sos"},
		{"another number", "sip:110@abc.voice.example.net;user=phone", "urn:service:sos.police"},
		{"mapped to a number", "sips:19222@x", "tel:+493019222"},
		{"tel", "tel:112", "urn:service:sos"},
		{"tel with context", "TEL:112;phone-context=+49", "urn:service:sos"},
		{"sip with context", "sip:112;phone-context=+49@x;user=phone", "urn:service:sos"},
		{"separators", "sip:(1)1-2.@x", "urn:service:sos"},
		{"tel with separators", "tel:1-1.2;phone-context=x", "urn:service:sos"},
		{"escaped", "sip:%311%32@x", "urn:service:sos"},
		{"password", "sip:112:secret@x", "urn:service:sos"},
		{"urn", "urn:service:sos", "urn:service:sos"},
		{"urn's case", "URN:Service:SOS.Police", "urn:service:sos.police"},
		{"urn, two labels", "urn:service:sos.animal-control.x1", "urn:service:sos.animal-control.x1"},

		{"digits behind", "sip:1123@x", ""},
		{"digits before", "sip:0112@x", ""},
		{"plus", "sip:+112@x", ""},
		{"tel plus", "tel:+112", ""},
		{"part of a name", "sip:112a@x", ""},
		{"star", "sip:*112@x", ""},
		{"hash", "sip:112%23@x", ""},
		{"space", "sip:1%2012@x", ""},
		{"not listed", "sip:911@x", ""},
		{"as host", "sip:112", ""},
		{"as password", "sip:bob:112@x", ""},
		{"as parameter", "sip:bob;112@x", ""},
		{"separators only", "sip:()@x", ""},
		{"urn, longer", "urn:service:sosx", ""},
		{"urn, other service", "urn:service:counseling.sos", ""},
		{"urn, no label", "urn:service:sos.", ""},
		{"urn, empty label", "urn:service:sos..police", ""},
		{"urn, hyphen", "urn:service:sos.-x", ""},
		{"urn with parameter", "urn:service:sos;x=1", ""},
		{"other urn", "urn:sos", ""},
		{"other scheme", "http:112", ""},
		{"broken escape", "sip:11%2@x", ""},
		{"two hosts", "sip:112@x@y", ""},
		{"fullwidth digits", "sip:%EF%BC%91%EF%BC%91%EF%BC%92@x", ""},
		{"empty", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			send, ok := Emergency(numbers, c.uri)
			if ok != (c.want != "") || ok && send != c.want {
				t.Errorf("Emergency(%q) = %q, %v, want %q", c.uri, send, ok, c.want)
			}
		})
	}
	if _, ok := Emergency(nil, "sip:112@x"); ok {
		t.Error("an empty list knows 112")
	}
	if _, ok := Emergency(nil, "urn:service:sos"); !ok {
		t.Error("an empty list hides urn:service:sos")
	}
}

func TestParse(t *testing.T) {
	cases := []struct {
		uri  string
		want URI
		ok   bool
	}{
		{"sip:alice@Atlanta.COM:5070;transport=tcp?x=y", URI{Scheme: "sip", User: "alice", Host: "atlanta.com", Port: 5070}, true},
		{"SIPS:atlanta.com", URI{Scheme: "sips", Host: "atlanta.com"}, true},
		{"sip:a%20b;p=1:pw@[2001:DB8::1]:5060", URI{Scheme: "sip", User: "a b", Host: "[2001:db8::1]", Port: 5060}, true},
		{"sip:a@[::1]", URI{Scheme: "sip", User: "a", Host: "[::1]"}, true},
		{"sip:a?b@c", URI{Scheme: "sip", User: "a?b", Host: "c"}, true},
		{"tel:+49(30)12-34;ext=5", URI{Scheme: "tel", User: "+49301234"}, true},
		{"urn:service:sos", URI{Scheme: "urn", Opaque: "service:sos"}, true},
		{"sip:", URI{}, false},
		{"sip:@x", URI{}, false},
		{"sip:a@", URI{}, false},
		{"sip:a@x:", URI{}, false},
		{"sip:a@x:65536", URI{}, false},
		{"sip:a@x:-1", URI{}, false},
		{"sip:a@[::1", URI{}, false},
		{"sip:a@::1", URI{}, false},
		{"sip:a@x y", URI{}, false},
		{"sip:a@x/y", URI{}, false},
		{"sip:a%0@x", URI{}, false},
		{"sip:a%00@x", URI{}, false},
		{"sip:a%+1@x", URI{}, false},
		{"sip:a@b@c", URI{}, false},
		{"tel:", URI{}, false},
		{"tel:;x", URI{}, false},
		{"1sip:a@b", URI{}, false},
		{"[:x", URI{}, false},
		{":x", URI{}, false},
		{"sip", URI{}, false},
		{"", URI{}, false},
	}
	for _, c := range cases {
		got, ok := Parse(c.uri)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v, %v", c.uri, got, ok, c.want, c.ok)
		}
	}
}

func TestNumber(t *testing.T) {
	german := []tandem.Rewrite{{Prefix: "00", Put: "+"}, {Prefix: "0", Put: "+49"}, {Prefix: "49", Put: "+49"}}
	cases := []struct {
		name     string
		rewrites []tandem.Rewrite
		user     string
		want     string
	}{
		{"E.164 already", german, "+493012345", "+493012345"},
		{"national", german, "03012345", "+493012345"},
		{"international, the first match", german, "00441234", "+441234"},
		{"without plus", german, "493012345", "+493012345"},
		{"separators and parameters", german, "(030)-12.345;npdi", "+493012345"},
		{"no rule matches", german, "112", ""},
		{"no rules", nil, "+1", "+1"},
		{"no rules, no plus", nil, "4930", ""},
		{"catch-all", []tandem.Rewrite{{Prefix: "", Put: "+"}}, "4930", "+4930"},
		{"too long", nil, "+1234567890123456", ""},
		{"letters", nil, "+12a", ""},
		{"plus alone", nil, "+", ""},
		{"a second plus", nil, "+1+2", ""},
		{"empty", german, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, ok := Number(c.rewrites, c.user)
			if ok != (c.want != "") || ok && got != c.want {
				t.Errorf("Number(%q) = %q, %v, want %q", c.user, got, ok, c.want)
			}
		})
	}
}

// escape writes s so that unescape gives it back, whatever it holds.
func escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.Write([]byte{'%', hex[s[i]>>4], hex[s[i]&15]})
	}
	return b.String()
}

// FuzzParse holds that what parses prints and parses again to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"sip:alice@atlanta.com:5060;x", "sips:a%20b:pw@[::1]", "tel:+1-2;ext=3", "urn:service:sos", "sip:%", "x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := Parse(s)
		if !ok {
			return
		}
		text := u.Scheme + ":" + u.Opaque
		switch {
		case u.Scheme == "tel":
			text += escape(u.User)
		case u.User != "":
			text += escape(u.User) + "@" + u.Host + ":5061"
		default:
			text += u.Host
		}
		again, ok := Parse(text)
		if u.User != "" && u.Scheme != "tel" {
			u.Port = 5061
		} else {
			u.Port = 0
		}
		if !ok || again != u {
			t.Errorf("%q printed as %q: %+v, %v, want %+v", s, text, again, ok, u)
		}
	})
}

// FuzzEmergency holds that an emergency call's digits are exactly a listed number's, and that one
// digit more before or behind them makes an ordinary call.
func FuzzEmergency(f *testing.F) {
	for _, s := range []string{"112", "(1)1-2", "%31%31%32", "1122", "+112", "112;phone-context=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		if _, ok := Emergency(numbers, "sip:"+user+"@x"); !ok {
			return
		}
		decoded, _ := userPart(user)
		listed := slices.ContainsFunc(numbers, func(n tandem.EmergencyNumber) bool {
			return n.Dial == strings.NewReplacer("(", "", ")", "", "-", "", ".", "").Replace(decoded)
		})
		if !listed {
			t.Errorf("%q is an emergency call", user)
		}
		end := strings.IndexAny(user, ";:")
		if end < 0 {
			end = len(user)
		}
		for _, other := range []string{"0" + user, "+" + user, user[:end] + "0" + user[end:]} {
			if _, ok := Emergency(numbers, "sip:"+other+"@x"); ok {
				t.Errorf("%q is an emergency call", other)
			}
		}
	})
}

// FuzzNumber holds that what comes out is an E.164 number and stays what it is.
func FuzzNumber(f *testing.F) {
	f.Add("03012345", "0", "+49")
	f.Add("+1(2)3-4.5;x", "", "")
	f.Fuzz(func(t *testing.T, user, prefix, put string) {
		n, ok := Number([]tandem.Rewrite{{Prefix: prefix, Put: put}}, user)
		if !ok {
			return
		}
		if !isE164(n) {
			t.Errorf("Number(%q) = %q", user, n)
		}
		if again, ok := Number(nil, n); !ok || again != n {
			t.Errorf("Number(%q) = %q, %v", n, again, ok)
		}
	})
}

func BenchmarkType(b *testing.B) {
	rules := []tandem.Rule{{User: "*97", Type: "voicemail"}, {Method: "INVITE", User: "8*", Type: "conference"}}
	r := Request{Method: "INVITE", URI: "sip:bob@abc.voice.example.net"}
	b.ReportAllocs()
	for b.Loop() {
		Type(rules, r)
	}
}

func BenchmarkEmergency(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Emergency(numbers, "sip:bob@abc.voice.example.net")
	}
}

func BenchmarkNumber(b *testing.B) {
	rewrites := []tandem.Rewrite{{Prefix: "00", Put: "+"}}
	b.ReportAllocs()
	for b.Loop() {
		Number(rewrites, "+493012345")
	}
}
