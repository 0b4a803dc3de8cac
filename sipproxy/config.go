package sipproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

// Config is what the startup file can say about the SIP proxy. Zero values take the defaults named.
type Config struct {
	// Listeners are where SIP is taken; at least one.
	Listeners []Listener `yaml:"listeners"`
	// Edge is the id of the Edge object that this appliance is; bindings and nonces carry it.
	Edge string `yaml:"edge"`
	// Workers share the work by Call-ID. Default: one a processor.
	Workers int `yaml:"workers"`
	// Queue is how many messages may wait for one worker, with 16 MiB in all; more are dropped.
	// Default 4096.
	Queue int `yaml:"queue"`
	// Transactions is how many server transactions may be open in all; beyond it new requests get
	// 503. Default 200,000.
	Transactions int `yaml:"transactions"`
	// Calls is how many live calls are kept for people to look at. Default 100,000.
	Calls int `yaml:"calls"`
	// FailoverAfter is how long a target may stay silent before the next is tried, when there are
	// several. Default 4 s.
	FailoverAfter time.Duration `yaml:"failoverAfter"`
	// RingTime is Timer C: how long a call may ring without news. Default 185 s; RFC 3261 section 16.6
	// wants more than 180 s.
	RingTime time.Duration `yaml:"ringTime"`
	// SilentAfter is after how long without a message both sides of a call are asked whether it is
	// still up. Default 10 min.
	SilentAfter time.Duration `yaml:"silentAfter"`
	// MaxAge is how long a call may last; default and most 24 h, as long as the routes of its dialog.
	MaxAge    time.Duration `yaml:"maxAge"`
	Probes    Probes        `yaml:"probes"`
	Streams   Streams       `yaml:"streams"`
	Registrar Registrar     `yaml:"registrar"`
	// NonceLifetime is how long a digest nonce serves. Default 300 s.
	NonceLifetime time.Duration `yaml:"nonceLifetime"`
	// Nonces is how many used nonces are remembered against replay. Default 65,536.
	Nonces int `yaml:"nonces"`
}

// Listener is one place where SIP is taken, over UDP, TCP or both.
type Listener struct {
	// Name is what Peer objects call it.
	Name string         `yaml:"name"`
	UDP  netip.AddrPort `yaml:"udp"`
	TCP  netip.AddrPort `yaml:"tcp"`
	// Host stands in Via and Record-Route, an address or a name. Default: the address listened on,
	// which must then not be unspecified.
	Host string `yaml:"host"`
}

// Probes says how feature servers are asked how they are, by OPTIONS.
type Probes struct {
	// Interval is how often; default 500 ms. A node that does not answer is asked four times in the
	// second half of a second before it counts as down.
	Interval time.Duration `yaml:"interval"`
	// Timeout is how long an answer may take; default 500 ms.
	Timeout time.Duration `yaml:"timeout"`
	// PerSecond bounds the probes of all nodes together; where it does not allow one an Interval, all
	// are asked less often. Default 500.
	PerSecond int `yaml:"perSecond"`
	// Off: nodes are not asked; only calls tell how they fare.
	Off bool `yaml:"off"`
}

// Streams bounds stream connections.
type Streams struct {
	Connections  int           `yaml:"connections"`  // in all; default 10,000
	PerSource    int           `yaml:"perSource"`    // from one address; default 1,000
	IdleTimeout  time.Duration `yaml:"idleTimeout"`  // without a message or keep-alive; default 10 min
	ReadTimeout  time.Duration `yaml:"readTimeout"`  // for the rest of a message once begun; default 10 s
	WriteTimeout time.Duration `yaml:"writeTimeout"` // default 5 s
	DialTimeout  time.Duration `yaml:"dialTimeout"`  // default 3 s
}

// Registrar bounds registrations.
type Registrar struct {
	PerAOR         int           `yaml:"perAor"`         // contacts of one address of record; default 10
	Bindings       int           `yaml:"bindings"`       // in all; default 4 million
	MinExpires     time.Duration `yaml:"minExpires"`     // shorter ones get 423; default 60 s
	MaxExpires     time.Duration `yaml:"maxExpires"`     // longer ones are cut; default 7200 s
	DefaultExpires time.Duration `yaml:"defaultExpires"` // when the request names none; default 3600 s
}

// Validate reports what is wrong with c, all of it.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Listeners) == 0 {
		errs = append(errs, errors.New("sip.listeners: at least one is needed"))
	}
	if len(c.Listeners) > 250 {
		errs = append(errs, errors.New("sip.listeners: at most 250"))
	}
	seen := make(map[string]bool)
	for i, l := range c.Listeners {
		at := fmt.Sprintf("sip.listeners[%d]", i)
		if l.Name == "" || seen[l.Name] {
			errs = append(errs, fmt.Errorf("%s.name: each listener needs a name of its own", at))
		}
		seen[l.Name] = true
		if !l.UDP.IsValid() && !l.TCP.IsValid() {
			errs = append(errs, fmt.Errorf("%s: needs udp or tcp, such as 192.0.2.1:5060", at))
		}
		for _, a := range []netip.AddrPort{l.UDP, l.TCP} {
			if a.IsValid() && a.Addr().IsUnspecified() && l.Host == "" {
				errs = append(errs, fmt.Errorf("%s.host: is needed when listening on %s", at, a.Addr()))
			}
		}
	}
	if c.RingTime != 0 && c.RingTime <= 180*time.Second {
		errs = append(errs, errors.New("sip.ringTime: must be more than 180s (RFC 3261 section 16.6)"))
	}
	if c.MaxAge < 0 || c.MaxAge > longest {
		errs = append(errs, errors.New("sip.maxAge: is at most 24h"))
	}
	if c.SilentAfter < 0 {
		errs = append(errs, errors.New("sip.silentAfter: is below zero"))
	}
	for name, d := range map[string]time.Duration{"probes.interval": c.Probes.Interval, "probes.timeout": c.Probes.Timeout} {
		if d != 0 && d < 20*time.Millisecond {
			errs = append(errs, fmt.Errorf("sip.%s: is below 20ms", name))
		}
	}
	for name, n := range map[string]int{"workers": c.Workers, "queue": c.Queue, "transactions": c.Transactions,
		"calls": c.Calls, "nonces": c.Nonces, "probes.perSecond": c.Probes.PerSecond, "streams.connections": c.Streams.Connections, "streams.perSource": c.Streams.PerSource} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("sip.%s: is below zero", name))
		}
	}
	return errors.Join(errs...)
}

// withDefaults returns c with every zero value filled in.
func (c Config) withDefaults() Config {
	or(&c.Workers, runtime.GOMAXPROCS(0))
	or(&c.Queue, 4096)
	or(&c.Transactions, 200_000)
	or(&c.Calls, 100_000)
	or(&c.FailoverAfter, 4*time.Second)
	or(&c.RingTime, 185*time.Second)
	or(&c.SilentAfter, 10*time.Minute)
	or(&c.MaxAge, longest)
	or(&c.Probes.Interval, 500*time.Millisecond)
	or(&c.Probes.Timeout, 500*time.Millisecond)
	or(&c.Probes.PerSecond, 500)
	or(&c.Streams.Connections, 10_000)
	or(&c.Streams.PerSource, 1_000)
	or(&c.Streams.IdleTimeout, 10*time.Minute)
	or(&c.Streams.ReadTimeout, 10*time.Second)
	or(&c.Streams.WriteTimeout, 5*time.Second)
	or(&c.Streams.DialTimeout, 3*time.Second)
	return c
}

// or gives *v the value d when it has none.
func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
