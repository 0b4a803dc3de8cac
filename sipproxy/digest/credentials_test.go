package digest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tandem/internal/tandem"
)

func TestParse(t *testing.T) {
	const good = `Digest username="alice", realm="r", nonce="n", uri="sip:x", response="0123456789abcdef0123456789ABCDEF"`
	want := Credentials{Username: "alice", Realm: "r", Nonce: "n", URI: "sip:x", Response: "0123456789abcdef0123456789ABCDEF", Algorithm: tandem.MD5}
	with := func(edit func(*Credentials)) *Credentials { c := want; edit(&c); return &c }
	cases := []struct {
		name, header string
		want         *Credentials
	}{
		{"plain", good, &want},
		{"spaces and case", "  dIgEsT   username = \"alice\" ,realm=\"r\",\tnonce=\"n\",uri=\"sip:x\",RESPONSE=\"0123456789abcdef0123456789ABCDEF\"  ", &want},
		{"folded", strings.Replace(good, "Digest ", "Digest\r\n\t", 1), &want},
		{"unknown parameter", good + `, foo=bar, baz="q\"x"`, &want},
		{"quoted algorithm and qop", good + `, algorithm="md5", qop="auth", nc="0000000A", cnonce="c"`,
			with(func(c *Credentials) { c.QOP, c.nc, c.NC, c.CNonce = "auth", "0000000A", 10, "c" })},
		{"escapes", strings.Replace(good, `"alice"`, `"al\i\"ce"`, 1), with(func(c *Credentials) { c.Username = `ali"ce` })},
		{"opaque", good + `, opaque="o"`, with(func(c *Credentials) { c.Opaque = "o" })},
		{"another algorithm", good + `, algorithm=MD5-sess`, nil},
		{"auth-int", good + `, qop=auth-int, nc=00000001, cnonce="c"`, nil},
		{"nc missing", good + `, qop=auth, cnonce="c"`, nil},
		{"nc zero", good + `, qop=auth, nc=00000000, cnonce="c"`, nil},
		{"nc short", good + `, qop=auth, nc=1, cnonce="c"`, nil},
		{"nc signed", good + `, qop=auth, nc=+0000001, cnonce="c"`, nil},
		{"cnonce missing", good + `, qop=auth, nc=00000001`, nil},
		{"twice", good + `, username="bob"`, nil},
		{"comma at the end", good + `,`, nil},
		{"comma missing", strings.Replace(good, `", realm`, `" realm`, 1), nil},
		{"open quote", good[:len(good)-1], nil},
		{"no response", good[:strings.Index(good, ", response")], nil},
		{"short response", strings.Replace(good, "0123456789ab", "", 1), nil},
		{"response not hex", strings.Replace(good, "0123456789ab", "0123456789xy", 1), nil},
		{"username*", strings.Replace(good, "username=", "username*=", 1), nil},
		{"control octet", strings.Replace(good, "alice", "ali\x00ce", 1), nil},
		{"line end", strings.Replace(good, "alice", "ali\r\nce", 1), nil},
		{"too long", strings.Replace(good, "alice", strings.Repeat("a", 513), 1), nil},
		{"scheme only", "Digest", nil},
		{"empty", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.header)
			if (err == nil) != (c.want != nil) {
				t.Fatalf("parse(%q) = %v", c.header, err)
			}
			if err == nil {
				if diff := cmp.Diff(*c.want, got, cmp.AllowUnexported(Credentials{})); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestFind(t *testing.T) {
	header := func(realm, alg string, digits int) string {
		return fmt.Sprintf(`Digest username="a", realm="%s", nonce="n", uri="sip:x", response="%s", algorithm=%s`, realm, strings.Repeat("0", digits), alg)
	}
	cases := []struct {
		name   string
		values []string
		want   Outcome
		alg    tandem.DigestAlgorithm
	}{
		{"none", nil, NoCredentials, ""},
		{"another realm", []string{header("other", "MD5", 32)}, NoCredentials, ""},
		{"the second", []string{header("other", "MD5", 32), header("r", "SHA-256", 64)}, OK, tandem.SHA256},
		{"not offered, then offered", []string{header("r", "SHA-512-256", 64), header("r", "MD5", 32)}, OK, tandem.MD5},
		{"another scheme first", []string{"Bearer x", header("r", "MD5", 32)}, OK, tandem.MD5},
		{"realm differs in case", []string{header("R", "MD5", 32)}, NoCredentials, ""},
		{"malformed first", []string{"Digest x", header("r", "MD5", 32)}, BadRequest, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, outcome := Find(c.values, "r", both)
			if outcome != c.want || got.Algorithm != c.alg {
				t.Errorf("Find = %q, %v, want %q, %v", got.Algorithm, outcome, c.alg, c.want)
			}
		})
	}
}

func TestUser(t *testing.T) {
	for name, want := range map[string]string{"alice": "alice", "alice@abc.voice.example.net": "alice", "@x": "", "a@b@c": "a"} {
		if got := (&Credentials{Username: name}).User(); got != want {
			t.Errorf("User of %q = %q, want %q", name, got, want)
		}
	}
}

func TestSameURI(t *testing.T) {
	cases := []struct {
		a, b string
		want bool
	}{
		{"sip:a@b", "sip:a@b", true},
		{"sip:a@b", "SIP:a@B", true},
		{"sip:a@b", "sip:a@b:5060;transport=tcp?x=y", true},
		{"sips:a@b", "sips:a@b:5061", true},
		{"sip:a;x=1@b", "sip:a;x=1@b;lr", true},
		{"sip:[2001:db8::1]", "sip:[2001:DB8::1]:5060", true},
		{"tel:+1", "tel:+1", true},
		{"sip:a@b", "sips:a@b", false},
		{"sip:a@b", "sip:A@b", false},
		{"sip:a@b", "sip:b", false},
		{"sip:a@b", "sip:a@b:5070", false},
		{"sip:a@b", "sip:a@bb", false},
		{"sip:a;x=1@b", "sip:a@b", false},
		{"tel:+1", "tel:+1;x", false},
		{"sip:", "sip:;x", false},
	}
	for _, c := range cases {
		if got := sameURI(c.a, c.b); got != c.want {
			t.Errorf("sameURI(%q, %q) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestNamesServer(t *testing.T) {
	for uri, want := range map[string]bool{
		"sip:127.0.0.1:5060": true, "SIP:abc.voice.example.net": true, "sips:[2001:db8::1];transport=tls": true,
		"sip:bob@127.0.0.1:5060": false, "sip:@127.0.0.1": false, "tel:+1": false, "sip:": false, "127.0.0.1": false, "": false,
	} {
		if got := namesServer(uri); got != want {
			t.Errorf("namesServer(%q) = %v, want %v", uri, got, want)
		}
	}
}

// FuzzParse holds that what parses prints and parses again to the same.
func FuzzParse(f *testing.F) {
	f.Add((&phone{user: "alice", password: "x"}).answer("n", tandem.SHA256, "REGISTER", "sip:x"))
	f.Add(`Digest username="a\"b", realm="r", nonce="n", uri="sip:x", response="0123456789abcdef0123456789ABCDEF",qop=auth,nc=00000001,cnonce=c`)
	f.Add(`Digest username=a`)
	f.Add(`Basic abc`)
	f.Fuzz(func(t *testing.T, header string) {
		c, err := parse(header)
		if err != nil {
			return
		}
		q := func(s string) string { return `"` + string(appendEscaped(nil, s)) + `"` }
		text := "Digest username=" + q(c.Username) + ",realm=" + q(c.Realm) + ",nonce=" + q(c.Nonce) + ",uri=" + q(c.URI) +
			",response=" + c.Response + ",algorithm=" + string(c.Algorithm)
		if c.Opaque != "" {
			text += ",opaque=" + q(c.Opaque)
		}
		if c.QOP != "" {
			text += ",qop=" + c.QOP + ",nc=" + c.nc + ",cnonce=" + q(c.CNonce)
		}
		again, err := parse(text)
		if err != nil {
			t.Fatalf("%q printed as %q: %v", header, text, err)
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty(), cmp.AllowUnexported(Credentials{})); diff != "" {
			t.Errorf("%q: %s", header, diff)
		}
	})
}

// FuzzSameURI holds that the comparison is symmetric and reflexive.
func FuzzSameURI(f *testing.F) {
	f.Add("sip:a@b", "SIP:a@B:5060;x")
	f.Add("sips:[::1]:5061", "sips:[::1]")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !sameURI(a, a) || sameURI(a, b) != sameURI(b, a) {
			t.Errorf("sameURI(%q, %q) is not an equality", a, b)
		}
	})
}
