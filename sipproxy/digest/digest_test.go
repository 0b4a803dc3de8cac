package digest

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/tandem"
)

const realm = "tandem-1001"

// ring is a set of keys of which the highest number signs.
type ring map[uint8][]byte

func (r ring) Signing(time.Time) (uint8, []byte) {
	for n := 255; n >= 0; n-- {
		if k := r[uint8(n)]; k != nil {
			return uint8(n), k
		}
	}
	return 0, nil
}

func (r ring) Lookup(n uint8, _ time.Time) []byte { return r[n] }

func secret(seed byte) []byte { return slices.Repeat([]byte{seed}, 32) }

var both = []tandem.DigestAlgorithm{tandem.SHA256, tandem.MD5}

// phone is the other end: it answers challenges.
type phone struct {
	user, password string
	nc             uint32
}

// nonceOf takes the nonce out of a challenge.
func nonceOf(challenge string) string {
	_, rest, _ := strings.Cut(challenge, `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	return nonce
}

// answer makes an Authorization value.
func (p *phone) answer(nonce string, alg tandem.DigestAlgorithm, method, uri string) string {
	p.nc++
	h := func(s string) string { return string(appendHash(nil, alg, []byte(s))) }
	nc := fmt.Sprintf("%08x", p.nc)
	response := h(h(p.user+":"+realm+":"+p.password) + ":" + nonce + ":" + nc + ":c0ffee:auth:" + h(method+":"+uri))
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s, cnonce="c0ffee", qop=auth, nc=%s`,
		p.user, realm, nonce, uri, response, alg, nc)
}

// check runs one header through Find and Verify as a registrar would.
func check(v *Verifier, now time.Time, header, method, uri string, offer []tandem.DigestAlgorithm) Outcome {
	c, outcome := Find([]string{header}, realm, offer)
	if outcome != OK {
		return outcome
	}
	r := &Request{Method: method, URI: uri, Realm: realm}
	if c.User() == "alice" {
		r.HA1 = []byte(tandem.NewHA1("alice", realm, "s3cret", []tandem.DigestAlgorithm{c.Algorithm}).Of(c.Algorithm))
	}
	return v.Verify(now, &c, r)
}

var start = time.Unix(1_800_000_000, 0)

func challenge(t testing.TB, v *Verifier, now time.Time) string {
	t.Helper()
	values, err := v.Challenges(now, realm, both, false)
	if err != nil {
		t.Fatal(err)
	}
	return nonceOf(values[0])
}

func TestVectors(t *testing.T) {
	// RFC 7616 section 3.9.1.
	for alg, want := range map[tandem.DigestAlgorithm]string{
		tandem.MD5:    "8ca523f5e9506fed4657c9700eebdbec",
		tandem.SHA256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		c, err := parse(`Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=` + string(alg) +
			`, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="` + want + `"`)
		if err != nil {
			t.Fatal(err)
		}
		ha1 := tandem.NewHA1("Mufasa", "http-auth@example.org", "Circle of Life", []tandem.DigestAlgorithm{alg}).Of(alg)
		if got := string(appendResponse(nil, &c, "GET", []byte(ha1))); got != want {
			t.Errorf("%s: response = %s, want %s", alg, got, want)
		}
	}
}

func TestHMAC(t *testing.T) {
	for _, n := range []int{0, 1, 55, 64, 200, 500} {
		msg := slices.Repeat([]byte{byte(n)}, n)
		mac := hmac.New(sha256.New, secret(7))
		mac.Write(msg)
		if got := hmacSHA256(secret(7), msg); !hmac.Equal(got[:], mac.Sum(nil)) {
			t.Errorf("hmacSHA256 of %d octets is wrong", n)
		}
	}
}

func TestChallenges(t *testing.T) {
	v := New(Config{}, ring{1: secret(1)}, start)
	values, err := v.Challenges(start, `a"b`, both, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, alg := range both {
		want := fmt.Sprintf(`Digest realm="a\"b", nonce="%s", algorithm=%s, qop="auth", stale=true`, nonceOf(values[i]), alg)
		if values[i] != want {
			t.Errorf("challenge = %s, want %s", values[i], want)
		}
	}
	again, _ := v.Challenges(start, realm, both, false)
	if nonceOf(again[0]) == nonceOf(values[0]) {
		t.Error("two challenges share a nonce")
	}
	if strings.Contains(again[0], "stale") {
		t.Error("a first challenge says stale")
	}
	if _, err := New(Config{}, ring{}, start).Challenges(start, realm, both, false); err != ErrNoKey {
		t.Errorf("without a key: %v, want ErrNoKey", err)
	}
}

func TestVerify(t *testing.T) {
	const uri = "sip:bob@abc.voice.example.net"
	alice := func() *phone { return &phone{user: "alice", password: "s3cret"} }
	cases := []struct {
		name string
		run  func(v *Verifier, nonce string) Outcome
		want Outcome
	}{
		{"right", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, OK},
		{"right with MD5", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.MD5, "INVITE", uri), "INVITE", uri, both)
		}, OK},
		{"right with SHA-512-256", func(v *Verifier, n string) Outcome {
			offer := []tandem.DigestAlgorithm{tandem.SHA512_256}
			return check(v, start, alice().answer(n, tandem.SHA512_256, "INVITE", uri), "INVITE", uri, offer)
		}, OK},
		{"upper-case hex", func(v *Verifier, n string) Outcome {
			h := alice().answer(n, tandem.MD5, "INVITE", uri)
			c, _ := parse(h)
			return check(v, start, strings.Replace(h, c.Response, strings.ToUpper(c.Response), 1), "INVITE", uri, both)
		}, OK},
		{"algorithm not offered", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.MD5, "INVITE", uri), "INVITE", uri, both[:1])
		}, NoCredentials},
		{"wrong secret", func(v *Verifier, n string) Outcome {
			p := &phone{user: "alice", password: "s3crex"}
			return check(v, start, p.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Bad},
		{"unknown user", func(v *Verifier, n string) Outcome {
			p := &phone{user: "mallory", password: "s3cret"}
			return check(v, start, p.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, UnknownUser},
		{"another method", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.SHA256, "REGISTER", uri), "INVITE", uri, both)
		}, Bad},
		{"another URI", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.SHA256, "INVITE", uri), "INVITE", "sip:eve@abc.voice.example.net", both)
		}, BadRequest},
		{"URI with parameters", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n, tandem.SHA256, "INVITE", uri+";transport=udp"), "INVITE", uri, both)
		}, OK},
		{"at the end of its life", func(v *Verifier, n string) Outcome {
			return check(v, start.Add(300*time.Second), alice().answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, OK},
		{"too old", func(v *Verifier, n string) Outcome {
			return check(v, start.Add(301*time.Second), alice().answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Stale},
		{"too old, wrong secret", func(v *Verifier, n string) Outcome {
			p := &phone{user: "alice", password: "wrong"}
			return check(v, start.Add(301*time.Second), p.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Bad},
		{"nonce not ours", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer("dcd98b7102dd2f0e8b11d0f600bfb0c093", tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Stale},
		{"nonce altered", func(v *Verifier, n string) Outcome {
			return check(v, start, alice().answer(n[:10]+"A"+n[11:], tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Stale},
		{"nonce from the future", func(v *Verifier, n string) Outcome {
			late := challengeAt(v, start.Add(time.Hour))
			return check(v, start, alice().answer(late, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, Stale},
		{"replayed", func(v *Verifier, n string) Outcome {
			h := alice().answer(n, tandem.SHA256, "INVITE", uri)
			check(v, start, h, "INVITE", uri, both)
			return check(v, start, h, "INVITE", uri, both)
		}, Stale},
		{"next count", func(v *Verifier, n string) Outcome {
			p := alice()
			check(v, start, p.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
			return check(v, start, p.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, OK},
		{"a wrong answer takes no count", func(v *Verifier, n string) Outcome {
			wrong := &phone{user: "alice", password: "wrong"}
			check(v, start, wrong.answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
			return check(v, start, alice().answer(n, tandem.SHA256, "INVITE", uri), "INVITE", uri, both)
		}, OK},
		{"no credentials", func(v *Verifier, n string) Outcome { return check(v, start, "Bearer abc", "INVITE", uri, both) }, NoCredentials},
		{"malformed", func(v *Verifier, n string) Outcome {
			return check(v, start, `Digest username="alice"`, "INVITE", uri, both)
		}, BadRequest},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := New(Config{Edge: "e1"}, ring{1: secret(1)}, start)
			if got := c.run(v, challenge(t, v, start)); got != c.want {
				t.Errorf("outcome = %v, want %v", got, c.want)
			}
		})
	}
}

func challengeAt(v *Verifier, now time.Time) string {
	values, _ := v.Challenges(now, realm, both, false)
	return nonceOf(values[0])
}

func TestBoundTo(t *testing.T) {
	const uri = "sip:abc.voice.example.net"
	keys := ring{1: secret(1)}
	v := New(Config{Edge: "e1"}, keys, start)
	header := (&phone{user: "alice", password: "s3cret"}).answer(challenge(t, v, start), tandem.SHA256, "REGISTER", uri)
	cases := []struct {
		name string
		v    *Verifier
		want Outcome
	}{
		{"same edge", New(Config{Edge: "e1"}, keys, start), OK},
		{"another edge", New(Config{Edge: "e2"}, keys, start), Stale},
		{"after a restart", New(Config{Edge: "e1"}, keys, start.Add(time.Second)), Stale},
		{"key rotated, old one kept", New(Config{Edge: "e1"}, ring{1: secret(1), 2: secret(2)}, start), OK},
		{"key rotated away", New(Config{Edge: "e1"}, ring{2: secret(2)}, start), Stale},
		{"another key of that number", New(Config{Edge: "e1"}, ring{1: secret(3)}, start), Stale},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := check(c.v, start.Add(2*time.Second), header, "REGISTER", uri, both); got != c.want {
				t.Errorf("outcome = %v, want %v", got, c.want)
			}
		})
	}
	// A nonce for one realm says nothing in another.
	values, _ := v.Challenges(start, "tandem-1002", both, false)
	other := (&phone{user: "alice", password: "s3cret"}).answer(nonceOf(values[0]), tandem.SHA256, "REGISTER", uri)
	if got := check(v, start, other, "REGISTER", uri, both); got != Stale {
		t.Errorf("nonce of another realm: %v, want stale", got)
	}
}

func TestWithoutQOP(t *testing.T) {
	v := New(Config{}, ring{1: secret(1)}, start)
	h := func(s string) string { return string(appendHash(nil, tandem.MD5, []byte(s))) }
	nonce := challenge(t, v, start)
	response := h(h("alice:"+realm+":s3cret") + ":" + nonce + ":" + h("REGISTER:sip:x"))
	header := fmt.Sprintf(`Digest username="alice", realm="%s", nonce="%s", uri="sip:x", response="%s"`, realm, nonce, response)
	c, outcome := Find([]string{header}, realm, both)
	if outcome != OK {
		t.Fatalf("Find = %v", outcome)
	}
	r := &Request{Method: "REGISTER", URI: "sip:x", Realm: realm, HA1: []byte(h("alice:" + realm + ":s3cret"))}
	if got := v.Verify(start, &c, r); got != BadRequest {
		t.Errorf("not allowed: %v, want malformed", got)
	}
	r.NoQOP = true
	if got := v.Verify(start, &c, r); got != OK {
		t.Errorf("allowed: %v, want ok", got)
	}
	if got := v.Verify(start, &c, r); got != Stale {
		t.Errorf("a second time: %v, want stale", got)
	}
}

func TestReplayWindow(t *testing.T) {
	r := newReplay(8, 0)
	n := nonce{made: 10, id: 1}
	steps := []struct {
		count uint32
		want  bool
	}{{5, true}, {5, false}, {4, true}, {4, false}, {7, true}, {6, true}, {200, true}, {137, true}, {136, false}, {137, false}, {199, true}, {1 << 31, true}, {200, false}}
	for i, s := range steps {
		if got := r.take(n, s.count); got != s.want {
			t.Errorf("step %d: take(%d) = %v, want %v", i, s.count, got, s.want)
		}
	}
}

func TestReplayTableFull(t *testing.T) {
	r := newReplay(waysPerSet, 0)
	for i := range waysPerSet {
		if !r.take(nonce{made: tick(10 + i), id: uint64(i)}, 1) {
			t.Fatalf("nonce %d was not taken", i)
		}
	}
	steps := []struct {
		name string
		n    nonce
		nc   uint32
		want bool
	}{
		{"older than all that is kept", nonce{made: 9, id: 100}, 1, false},
		{"younger: takes the oldest's place", nonce{made: 50, id: 101}, 1, true},
		{"the oldest, forgotten, replayed", nonce{made: 10, id: 0}, 1, false},
		{"the oldest, forgotten, next count", nonce{made: 10, id: 0}, 2, false},
		{"as old as what was forgotten", nonce{made: 10, id: 102}, 1, false},
		{"kept, next count", nonce{made: 11, id: 1}, 2, true},
		{"kept, replayed", nonce{made: 50, id: 101}, 1, false},
	}
	for _, s := range steps {
		if got := r.take(s.n, s.nc); got != s.want {
			t.Errorf("%s: take = %v, want %v", s.name, got, s.want)
		}
	}
}

// TestNeverTwice takes random counts of random nonces from a table far too small and at once, and
// holds that none is ever taken twice.
func TestNeverTwice(t *testing.T) {
	r := newReplay(4*waysPerSet, 0)
	const nonces, counts = 200, 100
	var taken [nonces][counts + 1]atomic.Uint32
	var total atomic.Int64
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 20000 {
				i, c := rng.IntN(nonces), 1+rng.IntN(counts)
				if r.take(nonce{made: tick(1 + i/3), id: uint64(i)}, uint32(c)) {
					total.Add(1)
					if taken[i][c].Add(1) > 1 {
						t.Errorf("count %d of nonce %d was taken twice", c, i)
					}
				}
			}
		})
	}
	all.Wait()
	if total.Load() == 0 {
		t.Error("nothing was taken at all")
	}
}
