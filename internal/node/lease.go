package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/internal/tandem"
	"tandem/lb"
	"tandem/sipproxy"
	"tandem/store"
)

// LB is the balancing section.
type LB struct {
	lb.Config `yaml:",inline"`
	Leases    *Leases `yaml:"leases"` // absent: this instance alone has every group's permitted number
}

// Validate reports what the room or the leases find.
func (c LB) Validate() error {
	if c.Leases != nil {
		if err := c.Leases.Validate(); err != nil {
			return inSection("leases", err)
		}
	}
	return c.Config.Validate()
}

// Leases says how this instance shares the groups' permitted numbers with others: it grants (Serve) or
// asks (From), over mutual TLS in both cases. Its certificate's first DNS name is its name.
type Leases struct {
	Serve       netip.AddrPort `yaml:"serve"`       // where other instances are answered
	From        string         `yaml:"from"`        // the grantor, such as https://edge1.example.net:8447
	CA          string         `yaml:"ca"`          // file of the authority for both ends' certificates; it should make no others
	Certificate string         `yaml:"certificate"` // file; read again for each connection
	Key         string         `yaml:"key"`
	MaxAge      time.Duration  `yaml:"maxAge"` // the longest that a call can be up; 24h
}

// Validate reports what is missing or contradicts.
func (c Leases) Validate() error {
	switch {
	case c.Serve.IsValid() == (c.From != ""):
		return tandem.FieldError{Reason: "needs one of serve, an address and port to grant at, and from, the https address of the grantor"}
	case c.CA == "" || c.Certificate == "" || c.Key == "":
		return tandem.FieldError{Reason: "needs the files ca, certificate and key"}
	case c.MaxAge < 0:
		return tandem.FieldError{Field: "maxAge", Reason: "is negative"}
	}
	return nil
}

// files are the paths in the section.
func (c *Leases) files() []*string { return []*string{&c.CA, &c.Certificate, &c.Key} }

// tls returns the settings of both ends. The certificate is read again for each connection, so that
// a new one needs no restart.
func (c Leases) tls() (*tls.Config, error) {
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("leases: authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("leases: authority %s: holds no certificate", c.CA)
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		return &pair, err
	}
	if _, err := load(); err != nil {
		return nil, fmt.Errorf("leases: certificate %s with key %s: %w", c.Certificate, c.Key, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
	}, nil
}

// name returns the instance's own name, as the certificate tells it to others.
func (c Leases) name() (string, error) {
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return "", fmt.Errorf("leases: %w", err)
	}
	if len(pair.Leaf.DNSNames) == 0 {
		return "", fmt.Errorf("leases: certificate %s: has no DNS name (subjectAltName), which would be this instance's", c.Certificate)
	}
	return strings.ToLower(pair.Leaf.DNSNames[0]), nil
}

// leaser is either end of leases.
type leaser interface {
	lb.Leases
	Bind(*lb.Balancer)
	Run(context.Context) error
	Metrics(func(tandem.Sample))
}

// newLessor makes the granting end, and the listener where it answers.
func newLessor(c Leases, kept *store.Store, log *slog.Logger) (*lb.Lessor, *web, error) {
	settings, err := c.tls()
	if err != nil {
		return nil, nil, err
	}
	name, err := c.name()
	if err != nil {
		return nil, nil, err
	}
	deps := lb.LessorDeps{Name: name, MaxAge: c.MaxAge, Shares: leaseShares{kept}}
	lessor, err := lb.NewLessor(context.Background(), deps, log)
	if err != nil {
		return nil, nil, err
	}
	return lessor, &web{at: c.Serve, handler: lessor, tls: settings, log: log.With("part", "leases")}, nil
}

// newLessee makes the asking end.
func newLessee(c Leases, log *slog.Logger) (*lb.Lessee, error) {
	settings, err := c.tls()
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: settings, MaxIdleConnsPerHost: 1, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return lb.NewLessee(c.From, client, log)
}

// newLeases makes the end that the configuration names, and its part.
func newLeases(c Leases, kept *store.Store, sockets binder, log *slog.Logger) (leaser, part, error) {
	p := part{name: "leases"}
	if c.From != "" {
		lessee, err := newLessee(c, log)
		if err != nil {
			return nil, p, err
		}
		p.run, p.metrics = lessee.Run, lessee.Metrics
		return lessee, p, nil
	}
	lessor, door, err := newLessor(c, kept, log)
	if err != nil {
		return nil, p, err
	}
	door.sockets = sockets
	p = door.part("leases")
	p.apply, p.metrics = lessor.Apply, lessor.Metrics
	p.run = func(ctx context.Context) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return lessor.Run(ctx) })
		both.Go(func() error { return door.Run(ctx) })
		return both.Wait()
	}
	return lessor, p, nil
}

// afterTakeUp has run begin once the calls of before the restart hold their slots again: what is said
// of them first must not be too little.
func afterTakeUp(sip *sipproxy.Server, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if sip != nil {
			select {
			case <-sip.TakenUp():
			case <-ctx.Done(): // run lets go of what was bound
			}
		}
		return run(ctx)
	}
}

// leaseShares keeps what others may hold as Leases in the store.
type leaseShares struct{ store *store.Store }

func (s leaseShares) by() tandem.Principal { return tandem.Principal{Name: "leases", Admin: true} }

func (s leaseShares) Load(ctx context.Context) (shares []lb.Share, err error) {
	for after := ""; ; {
		page, err := s.store.Leases(ctx, s.by(), after, 0)
		if err != nil || len(page) == 0 {
			return shares, err
		}
		for _, x := range page {
			shares = append(shares, lb.Share{Instance: x.Instance, Group: x.Group, Held: x.Held})
		}
		after = page[len(page)-1].ID
	}
}

func (s leaseShares) Save(ctx context.Context, shares []lb.Share) error {
	edits := make([]tandem.Edit, len(shares))
	for i, x := range shares {
		id := x.Instance + "/" + x.Group
		edits[i] = tandem.Edit{Kind: tandem.KindLease, ID: id}
		if x.Held > 0 {
			edits[i].Object = &tandem.Lease{Head: tandem.Head{ID: id}, Instance: x.Instance, Group: x.Group, Held: x.Held}
		}
	}
	_, err := s.store.Append(ctx, s.by(), edits)
	if errors.Is(err, tandem.ErrNotFound) && len(edits) == 1 {
		return nil // there is nothing to forget
	}
	return err
}
