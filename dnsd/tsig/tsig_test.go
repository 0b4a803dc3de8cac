package tsig

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var secret = []byte("thirty-two octets of test secret")

func newKey(t testing.TB, algorithm string) *Key {
	t.Helper()
	k, err := NewKey("Key.Example", algorithm, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ask returns a query that the library has signed at a time, and its MAC.
func ask(t testing.TB, name, algorithm string, at time.Time) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("example.net.", dns.TypeSOA)
	q.SetEdns0(1232, false)
	q.SetTsig(name, algorithm+".", Fudge, at.Unix())
	b, _, err := dns.TsigGenerate(q, base64.StdEncoding.EncodeToString(secret), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	cut := func(n int) func([]byte) []byte {
		return func(b []byte) []byte {
			r, _ := Find(b)
			binary.BigEndian.PutUint16(b[10:], binary.BigEndian.Uint16(b[10:])-1)
			r.MAC = r.MAC[:n]
			return r.append(bytes.Clone(b[:r.At]))
		}
	}
	cases := []struct {
		name, key, algorithm string
		at                   time.Time
		change               func([]byte) []byte
		want                 int
		err                  error
	}{
		{name: "well signed"},
		{name: "key's name in capitals", key: "KEY.EXAMPLE."},
		{name: "sha1", algorithm: "hmac-sha1"},
		{name: "sha224", algorithm: "hmac-sha224"},
		{name: "sha384", algorithm: "hmac-sha384"},
		{name: "sha512", algorithm: "hmac-sha512"},
		{name: "another key", key: "other.example.", want: BadKey},
		{name: "an octet changed", change: func(b []byte) []byte { b[14] ^= 1; return b }, want: BadSig},
		{name: "another id", change: func(b []byte) []byte { b[0] ^= 1; return b }}, // the original id counts
		{name: "at the fudge", at: now.Add(-300 * time.Second)},
		{name: "beyond the fudge", at: now.Add(-301 * time.Second), want: BadTime},
		{name: "in the future", at: now.Add(301 * time.Second), want: BadTime},
		{name: "late and changed", at: now.Add(-time.Hour), change: func(b []byte) []byte { b[14] ^= 1; return b }, want: BadSig},
		{name: "cut to half", change: cut(16), want: BadTrunc},
		{name: "cut below half", change: cut(15), want: BadSig, err: ErrForm},
		{name: "sha1 cut to half", algorithm: "hmac-sha1", change: cut(10), want: BadTrunc},
		{name: "sha1 cut below ten", algorithm: "hmac-sha1", change: cut(9), want: BadSig, err: ErrForm},
		{name: "no MAC", change: cut(0), want: BadSig, err: ErrForm},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.key == "" {
				c.key = "key.example."
			}
			if c.algorithm == "" {
				c.algorithm = "hmac-sha256"
			}
			if c.at.IsZero() {
				c.at = now
			}
			b := ask(t, c.key, c.algorithm, c.at)
			if c.change != nil {
				b = c.change(b)
			}
			r, err := Find(b)
			if err != nil || r == nil {
				t.Fatalf("Find = %v, %v", r, err)
			}
			got, err := newKey(t, c.algorithm).Verify(b, r, nil, now)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("Verify = %s, %v, want %s, %v", CodeName(got), err, CodeName(c.want), c.err)
			}
		})
	}
	if got, _ := newKey(t, "hmac-sha512").Verify(ask(t, "key.example.", "hmac-sha256", now), mustFind(t, ask(t, "key.example.", "hmac-sha256", now)), nil, now); got != BadKey {
		t.Errorf("another algorithm than the key's = %s, want BADKEY", CodeName(got))
	}
}

func mustFind(t testing.TB, b []byte) *Record {
	t.Helper()
	r, err := Find(b)
	if err != nil || r == nil {
		t.Fatalf("Find = %v, %v", r, err)
	}
	return r
}

// TestAppend: what we sign, the library accepts.
func TestAppend(t *testing.T) {
	now := time.Now()
	k := newKey(t, "")
	request := mustFind(t, ask(t, "key.example.", "hmac-sha256", now))
	m := new(dns.Msg)
	m.SetQuestion("example.net.", dns.TypeSOA)
	plain, _ := m.Pack()
	signed, _ := k.Append(plain, request.MAC, now, NoError, 0)
	if len(signed) != len(plain)+k.Size()-timeSize {
		t.Errorf("signing added %d octets, Size is %d", len(signed)-len(plain), k.Size())
	}
	mac := hexOf(request.MAC)
	if err := dns.TsigVerify(bytes.Clone(signed), base64.StdEncoding.EncodeToString(secret), mac, false); err != nil {
		t.Errorf("the library says %v", err)
	}
	if err := dns.TsigVerify(signed, base64.StdEncoding.EncodeToString(secret), "00"+mac[2:], false); err == nil {
		t.Error("the library accepts an answer to another request")
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

// TestStream: what one side signs the other accepts, in that order only; a hundredth message without a
// signature ends it.
func TestStream(t *testing.T) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	k := newKey(t, "")
	message := func(id byte) []byte { return append([]byte{0, id}, make([]byte, 10)...) }
	from, to := k.NewStream([]byte("request"), now), k.NewStream([]byte("request"), now)
	for i := range byte(5) {
		if err := to.Check(from.Sign(message(i))); err != nil || !to.Done() {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	a, b := from.Sign(message(6)), from.Sign(message(7))
	if err := to.Check(b); !errors.Is(err, ErrBad) {
		t.Errorf("a message left out: %v, want ErrBad", err)
	}
	to = k.NewStream([]byte("request"), now)
	if err := to.Check(a); !errors.Is(err, ErrBad) {
		t.Errorf("a later message first: %v, want ErrBad", err)
	}
	to = k.NewStream([]byte("request"), now)
	if err := to.Check(message(1)); !errors.Is(err, ErrBad) {
		t.Errorf("first message without signature: %v, want ErrBad", err)
	}
	from, to = k.NewStream(nil, now), k.NewStream(nil, now)
	if err := to.Check(from.Sign(message(1))); err != nil {
		t.Fatal(err)
	}
	for i := range mostUnsigned {
		if err := to.Check(message(2)); err != nil || to.Done() {
			t.Fatalf("message %d without signature: %v, done %v", i, err, to.Done())
		}
	}
	if err := to.Check(message(2)); !errors.Is(err, ErrBad) {
		t.Errorf("message 100 without signature: %v, want ErrBad", err)
	}
}

// FuzzFind: no octets make it panic, and what it finds can be put back to the same octets' meaning.
func FuzzFind(f *testing.F) {
	f.Add(ask(f, "key.example.", "hmac-sha256", time.Unix(1_800_000_000, 0)))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x02\x01h"))
	k, err := NewKey("key.example", "", secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Find(b)
		if err != nil || r == nil {
			return
		}
		k.Verify(b, r, nil, time.Unix(1_800_000_000, 0))
		head := bytes.Clone(b[:r.At])
		binary.BigEndian.PutUint16(head[10:], binary.BigEndian.Uint16(head[10:])-1)
		again, err := Find(r.append(head))
		if err != nil || again.Name != r.Name || !bytes.Equal(again.MAC, r.MAC) || again.Time != r.Time {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
