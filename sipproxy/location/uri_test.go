package location

import "testing"

func TestEqual(t *testing.T) {
	cases := []struct {
		name, a, b string
		want       bool
	}{
		// RFC 3261 section 19.1.4.
		{"escape and case", "sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"other parameters", "sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"other parameters, none shared", "sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5", true},
		{"order", "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"header order", "sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"user's case", "SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"port", "sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"transport missing", "sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"port and transport", "sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"headers missing", "sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"address for a name", "sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"not transitive", "sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},

		{"sips", "sip:a@b", "sips:a@b", false},
		{"password", "sip:a:x@b", "sip:a:y@b", false},
		{"reserved stays escaped", "sip:a%3Bb@c", "sip:a;b@c", false},
		{"escape's case", "sip:a%3bb@c", "sip:a%3Bb@c", true},
		{"maddr missing", "sip:a@b;maddr=1.2.3.4", "sip:a@b", false},
		{"ttl missing", "sip:a@b", "sip:a@b;ttl=1", false},
		{"user missing", "sip:a@b;user=phone", "sip:a@b", false},
		{"flag", "sip:a@b;lr", "sip:a@b;LR", true},
		{"IPv6", "sip:a@[2001:DB8::1]:5060", "sip:a@[2001:db8::1]:5060", true},
		{"header value's case", "sip:a@b?x=Y", "sip:a@b?X=y", false},
		{"malformed, same", "sip:", "sip:", true},
		{"malformed, alike", "sip:@b", "SIP:@b", false},
		{"twice a parameter", "sip:a@b;x=1;x=2", "SIP:a@b;x=1;x=2", false},
		{"tel", "tel:+1", "TEL:+1", false},
		{"empty", "", "sip:a@b", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Equal(c.a, c.b); got != c.want {
				t.Errorf("Equal(%q, %q) = %v, want %v", c.a, c.b, got, c.want)
			}
		})
	}
}

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{
		"sip:a@b":             true,
		"sips:b:5061;lr?x=y":  true,
		"sip:a;x?y@b":         true,
		"sip:a@[::1]:5060":    true,
		"sip:*97@10.0.0.1":    true,
		"tel:+1":              false,
		"*":                   false,
		"sip:":                false,
		"sip:a@":              false,
		"sip:a@b:":            false,
		"sip:a@b:123456":      false,
		"sip:a@b:5x":          false,
		"sip:a@b@c":           false,
		"sip:a@::1":           false,
		"sip:a@[::1":          false,
		"sip:a b@c":           false,
		"sip:a@b>":            false,
		"sip:a@b\r\nEvil: x":  false,
		"sip:a@b;;x":          false,
		"sip:a@b?x":           false,
		"sip:a%4@b":           false,
		"sip:a%4g@b":          false,
		"sip:a@b;transport=ü": false,
	} {
		if got := valid(s); got != want {
			t.Errorf("valid(%q) = %v, want %v", s, got, want)
		}
	}
}

// FuzzEqual holds that the comparison is symmetric, takes a URI for itself, and that adding an
// unknown parameter changes nothing.
func FuzzEqual(f *testing.F) {
	f.Add("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp")
	f.Add("sip:a@[::1]:5060;lr?x=y&z=1", "sip:a@b")
	f.Add("sip:a%", "sips:a%4")
	f.Add("", "sip:")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !Equal(a, a) || Equal(a, b) != Equal(b, a) {
			t.Errorf("Equal(%q, %q) is no comparison", a, b)
		}
		u, ok := parse(a)
		if _, has := u.param("zq"); ok && !has && len(u.headers) == 0 && a[len(a)-1] != '?' && a[len(a)-1] != ';' {
			if !Equal(a, a+";zq=1") {
				t.Errorf("%q differs from itself with an unknown parameter", a)
			}
		}
		if escapesWell(a) {
			if s := uniform(a); uniform(s) != s {
				t.Errorf("uniform(%q) = %q is not", a, s)
			}
		}
	})
}
