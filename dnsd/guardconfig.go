package dnsd

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"tandem/dnsd/guard"
	"tandem/internal/tandem"
)

// Cookies is what a file can say about DNS cookies (RFC 7873, 9018). Servers behind one address need
// the same secrets; without any, each makes up its own at every start, and clients learn a new cookie.
type Cookies struct {
	// Secret makes cookies: 16 octets, in hexadecimal.
	Secret string `yaml:"secret"`
	// Staged is the next secret, Previous the last one: cookies made with them are taken, too.
	Staged   string `yaml:"staged"`
	Previous string `yaml:"previous"`
	// DemandAbove is how many UDP queries a second, in all, make every client show a valid cookie or come
	// by TCP; zero: 100,000; below zero: never.
	DemandAbove int `yaml:"demandAbove"`
}

// RateLimit is what a file can say about UDP clients without a valid cookie.
type RateLimit struct {
	// Off takes away the rate and the octet budget.
	Off bool `yaml:"off"`
	// AnswersPerSecond is the rate of each source network (IPv4 /24, IPv6 /56), with a burst of as many;
	// zero: 200.
	AnswersPerSecond int `yaml:"answersPerSecond"`
	// Slip is that every so-manieth query over the rate gets an answer with TC instead of none; zero: 2.
	Slip int `yaml:"slip"`
	// DryRun counts what would be limited, and limits nothing.
	DryRun bool `yaml:"dryRun"`
	// Exempt are networks that are never limited; absent: loopback. An empty list exempts nobody.
	Exempt []netip.Prefix `yaml:"exempt"`
	// Buckets is how many networks are remembered, 16 octets each; zero: 65,536.
	Buckets int `yaml:"buckets"`
}

// Bounds of the limits.
const (
	mostAnswers = 1_000_000
	mostBuckets = 1 << 24
)

// fault appends a FieldError for each of c's faults to errs.
func (c Cookies) faults(errs tandem.FieldErrors) tandem.FieldErrors {
	for _, f := range []struct{ field, value string }{{"secret", c.Secret}, {"staged", c.Staged}, {"previous", c.Previous}} {
		if b, err := hex.DecodeString(f.value); f.value != "" && (err != nil || len(b) != len(guard.Secret{})) {
			errs = append(errs, tandem.FieldError{Field: "cookies." + f.field, Reason: "is not 16 octets in hexadecimal"})
		}
	}
	if c.Secret == "" && c.Staged+c.Previous != "" {
		errs = append(errs, tandem.FieldError{Field: "cookies.secret", Reason: "is missing beside the staged or previous one"})
	}
	return errs
}

func (r RateLimit) faults(errs tandem.FieldErrors) tandem.FieldErrors {
	for _, f := range []struct {
		field       string
		value, most int
	}{
		{"answersPerSecond", r.AnswersPerSecond, mostAnswers}, {"slip", r.Slip, 1000}, {"buckets", r.Buckets, mostBuckets},
	} {
		if f.value < 0 || f.value > f.most {
			errs = append(errs, tandem.FieldError{Field: "rateLimit." + f.field, Reason: fmt.Sprintf("is not within 0 and %d", f.most)})
		}
	}
	for i, p := range r.Exempt {
		if !p.IsValid() {
			errs = append(errs, tandem.FieldError{Field: fmt.Sprintf("rateLimit.exempt[%d]", i), Reason: "is not a network such as 192.0.2.0/24"})
		}
	}
	return errs
}

// newGuard returns the guard that cfg, complete and without faults, asks for.
func newGuard(cfg Config, jar *guard.Jar) *guard.Guard {
	r := cfg.RateLimit
	exempt := r.Exempt
	if exempt == nil {
		exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	g := guard.Config{
		Slip: r.Slip, DryRun: r.DryRun, Exempt: exempt, Buckets: r.Buckets, DemandAbove: max(0, cfg.Cookies.DemandAbove),
	}
	if !r.Off {
		g.Answers, g.Budget = r.AnswersPerSecond, true
	}
	return guard.New(g, jar, time.Now())
}

// useSecrets gives jar the secrets of c, if it names any.
func (c Cookies) useSecrets(jar *guard.Jar) {
	if c.Secret == "" {
		return
	}
	var all []guard.Secret
	for _, text := range []string{c.Secret, c.Staged, c.Previous} {
		if b, err := hex.DecodeString(text); err == nil && len(b) == len(guard.Secret{}) {
			all = append(all, guard.Secret(b))
		}
	}
	jar.Use(all[0], all[1:]...)
}

// UseCookieSecrets makes cookies with current from now on, and takes those made with current or accepted. The
// configuration's secrets, if there are any, count until then. Anyone may call it at any time.
func (s *Server) UseCookieSecrets(current [16]byte, accepted ...[16]byte) {
	var all []guard.Secret
	for _, a := range accepted {
		all = append(all, a)
	}
	s.model.edns.jar.Use(current, all...)
}
