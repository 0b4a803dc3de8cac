package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"tandem/dnsd"
	"tandem/httpproxy"
	"tandem/internal/control"
	"tandem/internal/tandem"
	"tandem/lb"
	"tandem/provision"
	"tandem/sipproxy"
	"tandem/store"
)

// part is one part as the node runs it. What it does not have is nil; run it always has.
type part struct {
	name     string
	run      func(context.Context) error
	listen   func() error
	apply    func([]tandem.Change)
	restored func(tandem.Revision) // told the revision of the snapshot that was applied
	metrics  func(emit func(tandem.Sample))
	addrs    func() map[string][]string // by listener, after listen
}

// builder holds what parts are given of one another while they are built.
type builder struct {
	*Node
	store *store.Store
	certs *authority
	parts []part

	balancer *lb.Balancer
	planner  *lb.Planner
	keeper   *lb.Keeper
	teller   *teller
	leases   leaser // nil: none are configured

	dns       *dnsd.Server
	sip       *sipproxy.Server
	http      *httpproxy.Server
	provision *provision.Server
}

// build makes the parts that the configuration names, each after those it needs.
func (n *Node) build(kept *store.Store) ([]part, error) {
	b := &builder{Node: n, store: kept}
	for _, step := range []struct {
		wanted bool
		build  func() error
	}{
		{n.cfg.HTTP != nil || n.cfg.Provision != nil || n.cfg.DNS != nil && n.cfg.DNS.Encrypts(), b.buildAuthority},
		{n.cfg.LB != nil || n.cfg.SIP != nil, b.buildLB},
		{n.cfg.DNS != nil, b.buildDNS},
		{n.cfg.SIP != nil, b.buildSIP},
		{n.cfg.HTTP != nil, b.buildHTTP},
		{n.cfg.Provision != nil, b.buildProvision},
		{n.cfg.Metrics != nil, b.buildMetrics},
		{n.cfg.Control != nil, b.buildControl},
	} {
		if !step.wanted {
			continue
		}
		if err := step.build(); err != nil {
			return nil, err
		}
	}
	return b.parts, nil
}

func (b *builder) buildAuthority() (err error) {
	b.certs, err = openAuthority(b.cfg.authorityDir(), b.cfg.TLS)
	if err != nil {
		return err
	}
	if b.cfg.Provision != nil {
		b.certs.fallback = b.cfg.Provision.Host
	}
	b.certs.allow = func(name string) bool { return b.http != nil && b.http.Serves(name) }
	return nil
}

func (b *builder) buildDNS() (err error) {
	deps := dnsd.Deps{Store: b.store, Seal: b.store, Zones: b.store}
	if b.certs != nil {
		deps.GetCertificate = b.certs.dnsCertificate(b.cfg.DNS.Host)
	}
	b.dns, err = dnsd.New(*b.cfg.DNS, deps, b.log)
	if err != nil {
		return err
	}
	if b.teller != nil {
		b.teller.hear = b.dns.Health
	}
	b.parts = append(b.parts, part{
		name: "dns", listen: b.dns.Listen, run: b.dns.Run, apply: b.dns.Apply, restored: b.dns.Restored, metrics: b.dns.Metrics,
		addrs: b.dnsAddrs,
	})
	return nil
}

// dnsAddrs names the addresses by their transport, and those for proxies.
func (b *builder) dnsAddrs() map[string][]string {
	all := map[string][]string{"dns": texts(b.dns.Addrs())}
	plain, secure := b.dns.AddrsProxy()
	for name, at := range map[string][]netip.AddrPort{
		"dns/tls": b.dns.AddrsTLS(), "dns/quic": b.dns.AddrsQUIC(), "dns/proxy": plain, "dns/proxy/tls": secure,
	} {
		if len(at) > 0 {
			all[name] = texts(at)
		}
	}
	return all
}

func (b *builder) buildSIP() (err error) {
	b.sip, err = sipproxy.New(*b.cfg.SIP, sipproxy.Deps{
		Resolver: b.dns, Bindings: b.store, Seal: b.store, Store: b.store, Calls: b.store, Balancer: b.balancer, Observer: b.balancer, Waits: b.leases != nil,
	}, b.log)
	if err != nil {
		return err
	}
	b.parts = append(b.parts, part{
		name: "sip", listen: b.sip.Listen, run: b.sip.Run, apply: b.sip.Apply, metrics: b.sip.Metrics, addrs: b.sipAddrs,
	})
	return nil
}

// sipAddrs names each address by its listener and transport.
func (b *builder) sipAddrs() map[string][]string {
	all := make(map[string][]string)
	for _, l := range b.cfg.SIP.Listeners {
		udp, tcp := b.sip.Addrs(l.Name)
		for transport, at := range map[string]netip.AddrPort{"udp": udp, "tcp": tcp} {
			if at.IsValid() {
				all["sip/"+l.Name+"/"+transport] = []string{at.String()}
			}
		}
	}
	return all
}

func (b *builder) buildHTTP() (err error) {
	b.http, err = httpproxy.New(*b.cfg.HTTP, httpproxy.Deps{Resolver: b.dns, Certificates: b.certs, Roots: b.certs.roots()}, b.log)
	if err != nil {
		return err
	}
	b.parts = append(b.parts, part{
		name: "http", listen: b.http.Listen, run: b.http.Run, apply: b.http.Apply, metrics: b.http.Metrics,
		addrs: func() map[string][]string {
			all := make(map[string][]string)
			for name, at := range b.http.Addrs() {
				all[name] = []string{at.String()}
			}
			return all
		},
	})
	return nil
}

// buildProvision makes the profiles and the TLS listener in front of them, as one part.
func (b *builder) buildProvision() (err error) {
	b.provision, err = provision.New(b.cfg.Provision.Config, b.store, b.store, b.log)
	if err != nil {
		return err
	}
	door := &web{
		at: b.cfg.Provision.Listen, handler: b.provision, bound: b.provision.Announce, log: b.log.With("part", "provision"),
		tls: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: b.certs.GetCertificate},
	}
	whole := door.part("provision")
	whole.apply, whole.metrics = b.provision.Apply, b.provision.Metrics
	whole.run = func(ctx context.Context) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return door.Run(ctx) })
		both.Go(func() error { return b.provision.Run(ctx) })
		return both.Wait()
	}
	b.parts = append(b.parts, whole)
	return nil
}

func (b *builder) buildMetrics() error {
	at := b.cfg.Metrics.Listen
	log := b.log.With("part", "metrics")
	door := &web{at: at, handler: metricsHandler(b.Node.metrics, at.Addr().IsLoopback(), log), log: log}
	b.parts = append(b.parts, door.part("metrics"))
	return nil
}

// part returns the listener as a part.
func (w *web) part(name string) part {
	return part{
		name: name, listen: w.Listen, run: w.Run,
		addrs: func() map[string][]string { return map[string][]string{name: texts(w.Addrs())} },
	}
}

func texts[T interface{ String() string }](addrs []T) []string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return all
}

// metrics emits the readings of all parts and of the node itself.
func (n *Node) metrics(emit func(tandem.Sample)) {
	n.mu.Lock()
	kept, parts := n.store, n.parts
	n.mu.Unlock()
	if kept == nil {
		return // asked before everything is bound
	}
	for _, p := range parts {
		if p.metrics != nil {
			p.metrics(emit)
		}
	}
	kept.Metrics(emit)
	_, last := kept.Info()
	served, _ := n.served.at()
	emit(tandem.Sample{Name: "tandem_node_revision", Help: "Revision of the last change.", Gauge: true, Value: float64(last)})
	emit(tandem.Sample{Name: "tandem_node_served_revision", Help: "Revision that all parts serve.", Gauge: true, Value: float64(served)})
}

func (b *builder) buildControl() error {
	cfg := *b.cfg.Control
	if cfg.Spool == "" {
		cfg.Spool = b.cfg.Data // a bulk file may be larger than what the system's folder for such takes
	}
	server, err := control.New(cfg, b.controlDeps(), b.log)
	if err != nil {
		return err
	}
	b.parts = append(b.parts, part{
		name: "control", listen: server.Listen, run: server.Run, metrics: server.Metrics,
		addrs: func() map[string][]string { return map[string][]string{"control": texts(server.Addrs())} },
	})
	return nil
}

// controlDeps gives the management door what the running parts can tell it.
func (b *builder) controlDeps() control.Deps {
	deps := control.Deps{
		Store: b.store, Reader: b.store, Seal: b.store,
		CheckZone: dnsd.CheckRecords, CheckRecordSet: dnsd.CheckRecordSet,
		Served: b.Served, Status: b.status, CallLog: b.store,
		Backup: b.store.Backup, Verify: b.verify,
	}
	if b.dns != nil {
		deps.Trace = b.trace
		deps.ZoneStates, deps.ZoneState, deps.RefreshZone = b.dns.ZoneStates, b.dns.ZoneState, b.dns.RefreshZone
	}
	if b.balancer != nil {
		deps.Balancing, deps.ReportLoad = balanceView{b.balancer, b.planner, b.leases}, b.reportLoad
	}
	if b.sip != nil {
		deps.Registrations, deps.Calls, deps.Hangup = b.sip.Registrations, b.sip.Calls, b.sip.Hangup
		deps.HangupAll = func(ctx context.Context, by tandem.Principal, r control.HangupAllRequest) (int, error) {
			return b.sip.HangupAll(ctx, by, sipproxy.Choice{Account: r.Account, Device: r.Device, Pending: r.Pending}, r.Reason)
		}
		deps.Ladder, deps.SIPTrace = b.sip.Ladder, b.sip.Trace
	}
	if b.provision != nil {
		deps.Permit = b.provision.Permit
	}
	return deps
}

// trace asks as this machine when the asker names no clients. It tells when nodes were checked last.
func (b *builder) trace(name string, from netip.Prefix) ([]tandem.Step, error) {
	if !from.IsValid() {
		from = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32)
	}
	if b.teller != nil {
		b.teller.say(true)
	}
	return b.dns.Trace(name, from), nil
}

// verify has the store read again. What is damaged is a finding, not a failure to look.
func (b *builder) verify(ctx context.Context) (control.Verified, error) {
	found, err := b.store.Verify(ctx, nil)
	if errors.Is(err, store.ErrCorrupt) && len(found.Faults) > 0 {
		err = nil
	}
	values := found.Objects + found.Owned + found.Refs + found.Claims + found.Changes + found.Bindings +
		found.Calls + found.OpenCalls + found.OwnedCalls + found.CallEvents
	return control.Verified{Values: int64(values), Problems: found.Faults}, err
}
