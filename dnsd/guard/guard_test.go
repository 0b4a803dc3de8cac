package guard

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// standard is what a server has by default.
func standard() Config {
	return Config{
		Answers: 200, Slip: 2, Buckets: 1 << 16, Budget: true,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// play is a server that answers everything with so many octets, in virtual time.
type play struct {
	*Watch
	begin, now time.Time
	answer     int
	out        [2048]byte
}

func newPlay(cfg Config) *play {
	begin := time.Unix(1_700_000_000, 0)
	return &play{Watch: New(cfg, NewJar(), begin).Watch(), begin: begin, now: begin, answer: 400}
}

// ask has a client ask, and returns what became of it and how many octets went out.
func (p *play) ask(from netip.Addr, in []byte) (Verdict, int) {
	p.Tick(p.now, 1)
	f := Read(in)
	v, free := p.Judge(from, &f)
	if v == Pass {
		if free || p.Afford(from, len(in), p.answer) {
			return Pass, p.answer
		}
		v = p.Instead(&f)
	}
	if v == Drop {
		return v, 0
	}
	n := p.Short(v, in, p.out[:], &f, from)
	p.Charge(from, len(in), n)
	return v, n
}

// question returns a query of about size octets; cookie, if it is not nil, as its option's data.
func question(size int, cookie []byte) []byte {
	b := []byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for left := size - 17; left > 1; {
		n := min(left-1, 63)
		b = append(append(b, byte(n)), make([]byte, n)...)
		left -= n + 1
	}
	b = append(b, 0, 0, 1, 0, 1)
	if cookie == nil {
		return b
	}
	b[11] = 1
	b = append(b, 0, 0, typeOPT, 0x04, 0xd0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(cookie)))
	b = append(b, 0, optionCookie, 0, byte(len(cookie)))
	return append(b, cookie...)
}

// TestFloodsAreNotAmplified: whatever a forger sends at 20 to 100,000 queries a second, over 10 s his
// victim gets at most three times the octets. The twin without a budget shows that it would.
func TestFloodsAreNotAmplified(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	worst := 0.0
	for _, rate := range []int{20, 21, 50, 199, 200, 201, 400, 1000, 5000, 100_000} {
		for _, answer := range []int{120, 164, 400, 512, 1232} {
			for _, cookie := range [][]byte{nil, make([]byte, 8), make([]byte, 24)} {
				if rate > 10_000 && (answer != 1232 || cookie != nil) {
					continue // long, and no worse than the slower ones
				}
				p := newPlay(standard())
				p.answer = answer
				size := 30 + r.IntN(60)
				if ratio := flood(p, netip.MustParseAddr("198.51.100.7"), question(size, cookie), rate); ratio > worst {
					worst = ratio
				}
			}
		}
	}
	t.Logf("at most %.2f octets out for one in", worst)
	if worst > 3 {
		t.Errorf("%.2f octets out for one in, want at most 3", worst)
	}
	open := standard()
	open.Budget = false
	p := newPlay(open)
	if ratio := flood(p, netip.MustParseAddr("198.51.100.7"), question(40, nil), 50); ratio < 8 {
		t.Errorf("without a budget %.2f octets out for one in, want what the answers have", ratio)
	}
}

// TestWideFloodsAreNotAmplified: a flood in the names of very many networks, each of which asks less than once a
// second, gives none of them more than three times the octets over 10 s. Below the rate of a flood each has its allowance.
func TestWideFloodsAreNotAmplified(t *testing.T) {
	const networks = 20_000
	for _, c := range []struct {
		name  string
		rate  int
		worst float64
	}{{"flood", 16_000, 3}, {"quiet", 1500, 10}} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlay(standard())
			p.answer = 200
			q := question(40, nil)
			in, out := map[int]int{}, map[int]int{}
			for i := range 10 * c.rate {
				n := i % networks
				from := netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), 7})
				_, size := p.ask(from, q)
				in[n], out[n] = in[n]+len(q), out[n]+size
				p.now = p.now.Add(time.Second / time.Duration(c.rate))
			}
			worst, over := 0.0, 0
			for n := range in {
				ratio := float64(out[n]) / float64(in[n])
				if worst = max(worst, ratio); ratio > 3 {
					over++
				}
			}
			t.Logf("at most %.2f octets out for one in, %d of %d networks over 3", worst, over, len(in))
			if worst > c.worst || c.worst > 3 && worst <= 3 {
				t.Errorf("%.2f octets out for one in", worst)
			}
		})
	}
}

// flood has an address ask for 10 s, and returns octets out over octets in.
func flood(p *play, from netip.Addr, q []byte, rate int) float64 {
	in, out := 0, 0
	for range rate * 10 {
		_, n := p.ask(from, q)
		in, out = in+len(q), out+n
		p.now = p.now.Add(time.Second / time.Duration(rate))
	}
	return float64(out) / float64(in)
}

// TestHonestAreServedBesideAFlood: others ask at their own pace, and are answered at every question, while many
// addresses are forged.
func TestHonestAreServedBesideAFlood(t *testing.T) {
	p := newPlay(standard())
	p.answer = 164
	r := rand.New(rand.NewPCG(1, 2))
	cookie := make([]byte, CookieSize)
	known, shy, mine := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("127.0.0.1")
	p.Tick(p.now, 0)
	p.g.jar.Put(cookie, cookie[:8], known, p.unix)
	size := p.size()
	for i := range 200_000 { // 40,000 a second
		var forged [4]byte
		binary.BigEndian.PutUint32(forged[:], r.Uint32())
		if i%2 == 0 {
			forged = [4]byte{198, 51, 100, byte(i)}
		}
		p.ask(netip.AddrFrom4(forged), question(40, nil))
		if i%50 == 0 { // 800 a second
			if v, _ := p.ask(known, question(60, cookie)); v != Pass {
				t.Fatalf("a client with a valid cookie got %v", v)
			}
			if v, _ := p.ask(mine, question(60, nil)); v != Pass {
				t.Fatalf("an exempt client got %v", v)
			}
		}
		if i%40_000 == 0 { // once a second, without a cookie
			if v, _ := p.ask(shy, question(60, nil)); v == Drop {
				t.Fatalf("a client of a quiet network got %v", v)
			}
		}
		p.now = p.now.Add(25 * time.Microsecond)
	}
	if p.Limited == 0 || p.Slipped == 0 || p.Dropped == 0 || p.OverBudget == 0 {
		t.Errorf("%d limited, %d slipped, %d dropped, %d over budget: the flood met no limit", p.Limited, p.Slipped, p.Dropped, p.OverBudget)
	}
	if p.size() != size {
		t.Errorf("the table has grown from %d to %d", size, p.size())
	}
}

func (p *play) size() int { return len(p.g.rates.sets)*ways*16 + len(p.g.proven)*8 }

// TestFullTableIsStrict: with far more networks than places the sum is still bounded.
func TestFullTableIsStrict(t *testing.T) {
	cfg := standard()
	cfg.Buckets = 64
	p := newPlay(cfg)
	r := rand.New(rand.NewPCG(9, 9))
	in, out := 0, 0
	q := question(40, nil)
	for range 200_000 {
		var from [4]byte
		binary.BigEndian.PutUint32(from[:], r.Uint32())
		_, n := p.ask(netip.AddrFrom4(from), q)
		in, out = in+len(q), out+n
		p.now = p.now.Add(50 * time.Microsecond)
	}
	if ratio := float64(out) / float64(in); ratio > 3 {
		t.Errorf("%.2f octets out for one in, want at most 3", ratio)
	}
}

// TestTCPProves: an address that asked over TCP is free of the budget for an hour, and not of the rate.
func TestTCPProves(t *testing.T) {
	p := newPlay(standard())
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	spent := func(from netip.Addr) bool {
		for range 100 {
			if v, _ := p.ask(from, question(40, nil)); v != Pass {
				return true
			}
			p.now = p.now.Add(10 * time.Millisecond)
		}
		return false
	}
	if !spent(a) {
		t.Fatal("the budget never ends")
	}
	p.g.Vouch(a, p.now)
	if spent(a) {
		t.Error("limited after a question over TCP")
	}
	if !spent(b) {
		t.Error("another address of the network is free")
	}
	p.now = p.now.Add(61 * time.Minute)
	if spent(a); !spent(a) {
		t.Error("free after an hour")
	}
}

func TestVerdicts(t *testing.T) {
	cookie := make([]byte, 8)
	over := func(p *play, q []byte) map[Verdict]int {
		got := map[Verdict]int{}
		for range 400 {
			v, _ := p.ask(netip.MustParseAddr("192.0.2.9"), q)
			got[v]++
		}
		return got
	}
	small := standard()
	small.Budget = false
	for _, test := range []struct {
		name  string
		spoil func(*Config)
		q     []byte
		want  map[Verdict]int
	}{
		{"every second slips", func(*Config) {}, question(40, nil), map[Verdict]int{Pass: 200, Truncate: 100, Drop: 100}},
		{"every one slips", func(c *Config) { c.Slip = 1 }, question(40, nil), map[Verdict]int{Pass: 200, Truncate: 200}},
		{"none slips", func(c *Config) { c.Slip = 0 }, question(40, nil), map[Verdict]int{Pass: 200, Drop: 200}},
		{"cookies are challenged", func(*Config) {}, question(40, cookie), map[Verdict]int{Pass: 200, Challenge: 200}},
		{"no question to answer", func(*Config) {}, make([]byte, 12), map[Verdict]int{Pass: 200, Drop: 200}},
		{"dry run", func(c *Config) { c.DryRun = true }, question(40, nil), map[Verdict]int{Pass: 400}},
		{"exempt", func(c *Config) { c.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, question(40, nil), map[Verdict]int{Pass: 400}},
		{"no rate", func(c *Config) { c.Answers = 0 }, question(40, nil), map[Verdict]int{Pass: 400}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := small
			test.spoil(&cfg)
			if got := over(newPlay(cfg), test.q); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("verdicts %v, want %v", got, test.want)
			}
		})
	}
}

// TestDemand: above a number of queries in all, cookies are demanded, and a second below it is the end of it.
func TestDemand(t *testing.T) {
	cfg := standard()
	cfg.DemandAbove = 1000
	p := newPlay(cfg)
	from := netip.MustParseAddr("192.0.2.9")
	second := func(n int) (v Verdict) {
		for i := range n {
			p.Tick(p.begin.Add(p.now.Sub(p.begin).Truncate(time.Second)), 0)
			v, _ = p.ask(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), question(40, nil))
		}
		p.now = p.now.Add(time.Second)
		return v
	}
	if v := second(1001); v != Pass {
		t.Errorf("in the first second %v", v)
	}
	if v := second(900); v != Truncate {
		t.Errorf("without a cookie after a busy second: %v, want Truncate", v)
	}
	if v := second(10); v != Pass {
		t.Errorf("after a quiet second: %v, want Pass", v)
	}
	second(1001)
	if v, _ := p.ask(from, question(40, make([]byte, 8))); v != Challenge {
		t.Errorf("with a client cookie after a busy second: %v, want Challenge", v)
	}
}

// TestShort holds the short answers to what RFC 7873 and RFC 6891 say of them.
func TestShort(t *testing.T) {
	p := newPlay(standard())
	p.Tick(p.now, 1)
	from := netip.MustParseAddr("192.0.2.9")
	for _, test := range []struct {
		name  string
		v     Verdict
		q     []byte
		rcode byte
		tc    bool
		size  int // more than the question's
	}{
		{"TC without EDNS", Truncate, question(40, nil), 0, true, 0},
		{"TC with a cookie", Truncate, question(40, make([]byte, 8)), 0, true, 16},
		{"BADCOOKIE", Challenge, question(40, make([]byte, 8)), 7, false, 16},
	} {
		f := Read(test.q)
		n := p.Short(test.v, test.q, p.out[:], &f, from)
		out := p.out[:n]
		if n != len(test.q)+test.size || out[2]&0x80 == 0 || out[2]&0x04 != 0 || out[2]&2 != 0 != test.tc || out[3]&15 != test.rcode {
			t.Errorf("%s: %x answers %x", test.name, out, test.q)
		}
		if g := Read(out); g.End != f.End || f.Cookie != nil && !p.g.jar.Valid(g.Cookie, from, p.unix) {
			t.Errorf("%s: no valid cookie in %x", test.name, out)
		}
		if test.v == Challenge && out[f.End+5] != 1 {
			t.Errorf("%s: extended rcode %d, want 1", test.name, out[f.End+5])
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p := newPlay(standard())
	q := question(40, make([]byte, 24))
	plain := question(40, nil)
	from := netip.MustParseAddr("192.0.2.9")
	if n := testing.AllocsPerRun(1000, func() { p.ask(from, q); p.ask(from, plain) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzShort: no octets make the guard panic, and a short answer is never much longer than its question.
func FuzzShort(f *testing.F) {
	f.Add(question(40, nil), false)
	f.Add(question(40, make([]byte, 8)), true)
	f.Add(question(400, make([]byte, 41)), true)
	p := newPlay(standard())
	f.Fuzz(func(t *testing.T, in []byte, challenge bool) {
		in = in[:min(len(in), 1000)]
		facts := Read(in)
		if facts.End == 0 {
			return
		}
		v := Truncate
		if challenge {
			v = Challenge
		}
		from := netip.MustParseAddr("192.0.2.9")
		if n := p.Short(v, in, p.out[:], &facts, from); n > len(in)+16 || n < facts.End {
			t.Errorf("%d octets answer %d", n, len(in))
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	for name, q := range map[string][]byte{"plain": question(40, nil), "client cookie": question(40, make([]byte, 8)), "server cookie": question(40, make([]byte, 24))} {
		b.Run(name, func(b *testing.B) {
			cfg := standard()
			cfg.Answers = 1_000_000
			p := newPlay(cfg)
			p.answer = 60
			p.Tick(p.now, 1)
			for i := range b.N {
				f := Read(q)
				from := netip.AddrFrom4([4]byte{10, byte(i >> 6), byte(i), 1})
				if v, free := p.Judge(from, &f); v == Pass && !free {
					p.Afford(from, len(q), 160)
				}
			}
		})
	}
}
