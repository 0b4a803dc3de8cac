package dnsd

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/dnsd/tsig"
	"tandem/internal/tandem"
)

// openSeal is a Sealer that hides nothing.
type openSeal struct{}

func (openSeal) Seal(plain []byte, context string) ([]byte, error) {
	return append([]byte(context+":"), plain...), nil
}

func (openSeal) Unseal(sealed []byte, context string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), context+":")
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return []byte(plain), nil
}

const testSecret = "a secret for tests, of some size"

func testKey(id, algorithm string) *tandem.TSIGKey {
	k := &tandem.TSIGKey{Head: tandem.Head{ID: id}, Algorithm: algorithm}
	k.Sealed, _ = openSeal{}.Seal([]byte(testSecret), k.SealContext())
	return k
}

func secretText() string { return base64.StdEncoding.EncodeToString([]byte(testSecret)) }

// signedQuery returns q's octets signed by the library, and the MAC.
func signedQuery(t testing.TB, q *dns.Msg, key, algorithm string, at time.Time) ([]byte, string) {
	t.Helper()
	q.SetTsig(key, algorithm, 300, at.Unix())
	b, mac, err := dns.TsigGenerate(q, secretText(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return b, mac
}

// TestTSIG: each fault of a signature gets its own answer (RFC 8945 section 5.2).
func TestTSIG(t *testing.T) {
	s := loadWorld(t, "rfc")
	s.writer.seal = openSeal{}
	s.change(90, tandem.KindTSIGKey, "good", testKey("good", ""))
	s.change(91, tandem.KindTSIGKey, "gone", testKey("gone", ""))
	s.change(92, tandem.KindTSIGKey, "gone", nil)
	broken := testKey("broken", "")
	broken.ID, broken.Sealed = "broken", []byte("nonsense")
	s.change(93, tandem.KindTSIGKey, "broken", broken)
	now := time.Now()
	cases := []struct {
		name, key, algorithm string
		at                   time.Time
		spoil                int // offset of an octet that is changed on the way
		rcode, code          int
		unsigned             bool
	}{
		{name: "good"},
		{name: "key in capitals", key: "GOOD."},
		{name: "unknown key", key: "nokey.", rcode: dns.RcodeNotAuth, code: tsig.BadKey, unsigned: true},
		{name: "key that was removed", key: "gone.", rcode: dns.RcodeNotAuth, code: tsig.BadKey, unsigned: true},
		{name: "key that cannot be opened", key: "broken.", rcode: dns.RcodeNotAuth, code: tsig.BadKey, unsigned: true},
		{name: "another algorithm", algorithm: dns.HmacSHA512, rcode: dns.RcodeNotAuth, code: tsig.BadKey, unsigned: true},
		{name: "changed on the way", spoil: 2, rcode: dns.RcodeNotAuth, code: tsig.BadSig, unsigned: true},
		{name: "late", at: now.Add(-time.Hour), rcode: dns.RcodeNotAuth, code: tsig.BadTime},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := new(dns.Msg)
			q.SetQuestion("rfc.test.", dns.TypeSOA)
			if c.key == "" {
				c.key = "good."
			}
			if c.algorithm == "" {
				c.algorithm = dns.HmacSHA256
			}
			if c.at.IsZero() {
				c.at = now
			}
			query, mac := signedQuery(t, q, c.key, c.algorithm, c.at)
			if c.spoil > 0 {
				query[c.spoil] ^= 1
			}
			answer := s.askBoth(t, query, client{addr: netip.MustParseAddr("127.0.0.1")})
			msg := new(dns.Msg)
			if err := msg.Unpack(answer); err != nil {
				t.Fatal(err)
			}
			r := msg.IsTsig()
			if r == nil || msg.Rcode != c.rcode || int(r.Error) != c.code || (r.MAC == "") != c.unsigned {
				t.Fatalf("answer = %v", msg)
			}
			if (len(msg.Answer) > 0) != (c.rcode == 0) {
				t.Errorf("answer has %d records", len(msg.Answer))
			}
			if c.unsigned {
				return
			}
			if c.code == tsig.BadTime {
				if r.OtherLen != 6 || r.TimeSigned != uint64(c.at.Unix()) {
					t.Errorf("BADTIME with other data %q, time %d", r.OtherData, r.TimeSigned)
				}
				return // the library takes no answer from NOTAUTH; tsig's own tests check such a MAC
			}
			if err := dns.TsigVerify(answer, secretText(), mac, false); err != nil {
				t.Errorf("the answer's signature: %v", err)
			}
		})
	}
}

// TestTSIGBadTimeIsSigned: the answer that says BADTIME proves that it comes from a holder of the key.
func TestTSIGBadTimeIsSigned(t *testing.T) {
	s := loadWorld(t, "rfc")
	s.writer.seal = openSeal{}
	s.change(90, tandem.KindTSIGKey, "good", testKey("good", ""))
	q := new(dns.Msg)
	q.SetQuestion("rfc.test.", dns.TypeSOA)
	at := time.Now().Add(-time.Hour)
	query, _ := signedQuery(t, q, "good.", dns.HmacSHA256, at)
	answer := s.askBoth(t, query, client{addr: netip.MustParseAddr("127.0.0.1")})
	key, err := tsig.NewKey("good", "", []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	request, err := tsig.Find(query)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tsig.Find(answer)
	if err != nil || r == nil {
		t.Fatalf("answer has no TSIG: %v", err)
	}
	if code, err := key.Verify(answer, r, request.MAC, at); code != tsig.NoError || err != nil {
		t.Errorf("signature of the answer: %s, %v", tsig.CodeName(code), err)
	}
	r.MAC[3] ^= 1
	if code, _ := key.Verify(answer, r, request.MAC, at); code != tsig.BadSig {
		t.Errorf("a changed MAC: %s, want BADSIG", tsig.CodeName(code))
	}
}
