package lab

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"text/template"
	"time"

	"tandem/internal/tandem"
)

// Config says where the server is that the lab stands beside, and where the lab's own parts are.
type Config struct {
	Socket                          string         // the server's control socket
	DNS                             netip.AddrPort // where the server answers DNS
	SIP                             netip.AddrPort // its SIP listener, UDP and TCP
	Listener                        string         // the name of that listener in the server's file
	HTTP, HTTPS, Provision, Metrics netip.AddrPort // its other listeners
	DoT                             netip.AddrPort // the zero value: it does not answer over TLS
	CA                              string         // file with the certificate that signs its provisioning certificate

	Nodes             []netip.Addr // of the four feature servers: east1, east2, west1, west2
	NodeSIP, NodeHTTP uint16       // their ports
	Core              netip.Prefix // the network that the nodes' addresses lie in, and no phone's
	Phones            netip.Addr   // where the phones are; each finds a port of its own

	// Pause is the mean time between two calls; zero means that the phones register only.
	Pause time.Duration
	// Command is how people call the program, in the list of things to try.
	Command string
	// Out gets the list of things to try and a line of figures every ten seconds.
	Out io.Writer
}

// Default returns the lab of the quick start, silent.
func Default() Config {
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	cfg := Config{
		Socket: "run/tandem.sock", Listener: "public", CA: "run/ca.pem", Command: "./tandem", Out: io.Discard,
		DNS: netip.AddrPortFrom(local, 5300), SIP: netip.AddrPortFrom(local, 5060),
		HTTP: netip.AddrPortFrom(local, 8080), HTTPS: netip.AddrPortFrom(local, 8443),
		Provision: netip.AddrPortFrom(local, 8445), Metrics: netip.AddrPortFrom(local, 9153), DoT: netip.AddrPortFrom(local, 8853),
		NodeSIP: 5060, NodeHTTP: 8080, Phones: local, Pause: 3 * time.Second,
		Core: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 8}), 29),
	}
	for last := byte(11); last <= 14; last++ {
		cfg.Nodes = append(cfg.Nodes, netip.AddrFrom4([4]byte{127, 0, 0, last}))
	}
	return cfg
}

// Validate reports what a lab cannot run with.
func (c Config) Validate() error {
	switch {
	case c.Socket == "" || c.Out == nil:
		return errors.New("lab: a control socket and an output are needed")
	case !c.DNS.IsValid() || !c.SIP.IsValid() || !c.Phones.IsValid():
		return errors.New("lab: the addresses of DNS, SIP and the phones are needed")
	case len(c.Nodes) != len(nodeNames()):
		return fmt.Errorf("lab: %d node addresses, want %d", len(c.Nodes), len(nodeNames()))
	}
	for _, a := range c.Nodes {
		if !c.Core.Contains(a) {
			return fmt.Errorf("lab: node address %s lies outside %s", a, c.Core)
		}
	}
	if c.Core.Contains(c.Phones) {
		return fmt.Errorf("lab: the phones' address %s lies among the nodes', in %s", c.Phones, c.Core)
	}
	return nil
}

func nodeNames() []string { return []string{"east1", "east2", "west1", "west2"} }

// Person is a user of the example objects, with a phone whose SIP user name is the user's id.
type Person struct {
	ID, Account, Name string
	Extension, Number string           // Number may be empty
	Secret, MAC       string           // of the phone
	Domain            string           // the name the phone is given: its account's inbound name
	Dialled           string           // the name by which people of other accounts dial it
	Transport         tandem.Transport // the one the phone keeps to; zero: what DNS prefers
}

// People returns the users of the example objects.
func People() []Person {
	const acmeCurrent, acme, globex = "q7mxk2vd5bwz3nta." + zone, "acme." + zone, "globex." + zone
	return []Person{
		{"alice", "1001", "Alice Adams", "200", "+12025550120", "alice-demo-secret", "00005e005301", acmeCurrent, acme, 0},
		{"bob", "1001", "Bob Brown", "201", "+12025550121", "bob-demo-secret", "00005e005302", acmeCurrent, acme, 0},
		{"carol", "1002", "Carol Clark", "300", "+12025550130", "carol-demo-secret", "00005e005303", globex, globex, 0},
		{"dave", "1002", "Dave Dixon", "301", "", "dave-demo-secret", "00005e005304", globex, globex, tandem.TCP},
	}
}

// zone holds the example accounts' names.
const zone = "voice.example.net"

// People returns People, for the template of the objects.
func (Config) People() []Person { return People() }

//go:embed telco.yaml.tmpl
var telco string

// Objects returns the example objects as YAML documents, with cfg's addresses in them. With Default
// they are examples/telco.yaml.
func Objects(cfg Config) ([]byte, error) {
	t, err := template.New("telco.yaml").Option("missingkey=error").Parse(telco)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, cfg); err != nil {
		return nil, fmt.Errorf("example objects: %w", err)
	}
	return b.Bytes(), nil
}
