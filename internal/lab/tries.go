package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// Try is one thing to try beside a running lab.
type Try struct {
	Title   string
	Command string // for bash, in the folder that holds the program
	// Want is what the output must hold: every line, in order, with others between them if need be;
	// "..." stands for anything, and so does any run of spaces for any other.
	Want []string
}

// Tries returns what there is to try in the lab of cfg, in an order in which each works.
func Tries(cfg Config) []Try {
	dig := fmt.Sprintf("dig @%s -p %d +noall +answer ", cfg.DNS.Addr(), cfg.DNS.Port())
	kdig := fmt.Sprintf("kdig @%s -p %d ", cfg.DNS.Addr(), cfg.DNS.Port())
	c := cfg.Command
	all := tryNames(cfg, dig, kdig)
	all = append(all, trySteering(cfg, dig, c)...)
	return append(all, tryServices(cfg, c)...)
}

// tryNames is about what names resolve to.
func tryNames(cfg Config, dig, kdig string) []Try {
	acme, globex := "acme."+zone, "globex."+zone
	names := []Try{
		{"A customer's name leads to the edge: transports first", dig + "NAPTR " + acme,
			[]string{acme + ". ... NAPTR ... \"SIP+D2U\" ... _sip._udp." + acme + "."}},
		{"then the edge's host and port", dig + "SRV _sip._udp." + globex,
			[]string{"_sip._udp." + globex + ". ... SRV ... " + fmt.Sprint(cfg.SIP.Port()) + " edge1.edge." + zone + "."}},
		{"then its address, over TCP this time", kdig + "+tcp +short A edge1.edge." + zone,
			[]string{cfg.SIP.Addr().String()}},
	}
	if cfg.DoT.IsValid() {
		ask := fmt.Sprintf("kdig @%s -p %d +tls +short A edge1.edge.%s", cfg.DoT.Addr(), cfg.DoT.Port(), zone)
		names = append(names, Try{"and over TLS, encrypted", ask, []string{cfg.SIP.Addr().String()}})
	}
	return append(names, []Try{
		{"A name that nobody has does not exist", kdig + "A nobody." + zone,
			[]string{"... status: NXDOMAIN..."}},
		{"Behind the edge each customer has names of its own, one for each kind of request", dig + "SRV _sip._udp.invite.1001.svc." + zone,
			[]string{"... SRV ... east1.node.svc." + zone + "."}},
	}...)
}

// trySteering is about looking at the server and turning its knobs.
func trySteering(cfg Config, dig, c string) []Try {
	return []Try{
		{"How the server is", c + " status", []string{"dns..."}},
		{"The customers", c + " get account", []string{"...1001...", "...1002..."}},
		{"The phones that are registered", c + " sip registrations", []string{"...alice...", "...carol..."}},
		{"The calls of this moment and the last ones", c + " call list", nil},
		{"Why a name resolves as it does: account, group, cluster, nodes", c + " dns trace invite.1001.svc." + zone,
			[]string{"...acme-group...", "...east..."}},
		{"How calls are balanced: each group's cluster, its calls, what it expects and is permitted", c + " lb status",
			[]string{"...CLUSTER...", "...east...", "...acme-group..."}},
		{"What would move if the east were lost, and what would find no room", c + " lb plan --lose east", []string{"...acme-group..."}},
		{"The nodes, with all that is measured of them", c + " cluster show", []string{"...east1...", "...west2..."}},
		{"What Acme's feature servers in the east were asked", "curl -s http://" + host(cfg, 0) + "/log http://" + host(cfg, 1) + "/log",
			[]string{"... REGISTER account=q7mxk2vd5bwz3nta." + zone + "..."}},
		{"Move Acme's calls to the west while they go on; its phones notice nothing", c + " account repoint 1001 invite --cluster west", nil},
		{"The next call's name leads there", dig + "SRV _sip._udp.invite.1001.svc." + zone,
			[]string{"... SRV ... west1.node.svc." + zone + "."}},
		{"and back to its group's cluster", c + " account repoint 1001 invite --group", nil},
	}
}

// tryServices is about HTTP, provisioning and metrics.
func tryServices(cfg Config, c string) []Try {
	web := fmt.Sprintf("http://%s/hello", cfg.HTTP)
	return []Try{
		{"HTTP to a customer's name reaches that customer's feature server", "curl -s -H 'Host: acme." + zone + "' " + web,
			[]string{"east...: GET /hello for acme." + zone + " (type http)"}},
		{"another customer's, another's", "curl -s -H 'Host: globex." + zone + "' " + web,
			[]string{"west...: GET /hello for globex." + zone + " (type http)"}},
		{"A name that is no customer's is refused", "curl -s -o /dev/null -w '%{http_code}\\n' -H 'Host: nobody." + zone + "' " + web, []string{"421"}},
		{"A phone's configuration, over TLS, from a URL that works once; its server is a name",
			"curl -s --cacert " + cfg.CA + ` "$(` + c + ` device provisioning-url alice-phone)"`,
			[]string{`...q7mxk2vd5bwz3nta.` + zone + `...`}},
		{"Figures for Prometheus", fmt.Sprintf("curl -s http://%s/metrics | grep ^tandem_sip", cfg.Metrics), []string{"tandem_sip..."}},
	}
}

// host is where a node answers HTTP.
func host(cfg Config, i int) string {
	return netip.AddrPortFrom(cfg.Nodes[i], cfg.NodeHTTP).String()
}

// text returns the list as it is printed on a terminal.
func text(tries []Try) string {
	var b strings.Builder
	b.WriteString("The lab is ready. Things to try, in another terminal:\n\n")
	for _, t := range tries {
		fmt.Fprintf(&b, "  # %s\n  %s\n\n", t.Title, t.Command)
	}
	b.WriteString("Ctrl-C ends it.\n\n")
	return b.String()
}

// Markdown returns the list as it stands in README.md: the commands in blocks tagged "sh run", and
// what they print in blocks tagged "output".
func Markdown(tries []Try) string {
	var b strings.Builder
	for _, t := range tries {
		fmt.Fprintf(&b, "%s:\n\n```sh run\n%s\n```\n\n", t.Title, t.Command)
		if len(t.Want) > 0 {
			fmt.Fprintf(&b, "```output\n%s\n```\n\n", strings.Join(t.Want, "\n"))
		}
	}
	return b.String()
}
