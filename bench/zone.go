package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	apex     = "voice.example.net"
	mixSize  = 200_000
	mixSeed  = 7
	zipfS    = 1.1
	template = "c000000" // the account whose answers the peers' zone is made from
)

func label(account int) string { return fmt.Sprintf("c%06d", account) }

// writeAccounts writes the objects that tandem serves, as JSON Lines.
func writeAccounts(path string, addr string, accounts int) error {
	return writeFile(path, func(w *bufio.Writer) {
		for _, line := range []string{
			`{"kind":"Cluster","id":"east"}`,
			`{"kind":"Node","id":"east1","cluster":"east","addresses":["` + addr + `"],"ports":{"udp":5070,"tcp":5070}}`,
			`{"kind":"Edge","id":"edge1","addresses":["192.0.2.1","2001:db8::1"],"ports":{"udp":5060,"tcp":5060}}`,
			`{"kind":"Edge","id":"edge2","addresses":["192.0.2.2","2001:db8::2"],"ports":{"udp":5060,"tcp":5060},"priority":1}`,
			`{"kind":"Zone","id":"svc.` + apex + `","role":"service"}`,
			`{"kind":"Zone","id":"` + apex + `","role":"accounts","serviceZone":"svc.` + apex + `","edges":["edge1","edge2"]}`,
			`{"kind":"Group","id":"gold","cluster":"east"}`,
		} {
			fmt.Fprintln(w, line)
		}
		for i := range accounts {
			fmt.Fprintf(w, `{"kind":"Account","id":"a%06d","zone":"%s","labels":[{"label":"%s"}],"group":"gold"}`+"\n", i, apex, label(i))
		}
	})
}

// learn asks tandem for everything that an account's names answer, and what they lead to, so that
// the peers can be given a zone with the same answers.
func learn(from netip.AddrPort) (perAccount, shared []dns.RR, err error) {
	name := template + "." + apex + "."
	for _, q := range []struct {
		name string
		kind uint16
		all  bool
	}{
		{name, dns.TypeNAPTR, true}, {name, dns.TypeA, true}, {name, dns.TypeAAAA, true}, {name, dns.TypeHTTPS, true},
		{"_sip._udp." + name, dns.TypeSRV, true}, {"_sip._tcp." + name, dns.TypeSRV, true},
		{"edge1.edge." + apex + ".", dns.TypeA, false}, {"edge1.edge." + apex + ".", dns.TypeAAAA, false},
		{"edge2.edge." + apex + ".", dns.TypeA, false}, {"edge2.edge." + apex + ".", dns.TypeAAAA, false},
		{apex + ".", dns.TypeSOA, false}, {apex + ".", dns.TypeNS, false},
	} {
		reply, err := ask(from, q.name, q.kind)
		if err != nil {
			return nil, nil, err
		}
		if q.all {
			perAccount = append(perAccount, reply.Answer...)
		} else {
			shared = append(shared, reply.Answer...)
		}
	}
	if len(perAccount) == 0 {
		return nil, nil, fmt.Errorf("%s answers nothing for %s", from, name)
	}
	ns := dns.Fqdn("ns." + apex)
	address := &dns.A{Hdr: dns.RR_Header{Name: ns, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: from.Addr().AsSlice()}
	return perAccount, append(shared, address), nil
}

// ask puts one question over TCP.
func ask(to netip.AddrPort, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), kind)
	question.RecursionDesired = false
	client := dns.Client{Net: "tcp", Timeout: 2 * time.Second}
	reply, _, err := client.Exchange(question, to.String())
	return reply, err
}

// writeZone writes the zone that peers serve: the shared records and each account's.
func writeZone(path string, perAccount, shared []dns.RR, accounts int) error {
	var lines strings.Builder
	for _, rr := range perAccount {
		lines.WriteString(rr.String() + "\n")
	}
	each := lines.String()
	return writeFile(path, func(w *bufio.Writer) {
		fmt.Fprintf(w, "$ORIGIN %s.\n$TTL 60\n", apex)
		for _, rr := range shared {
			fmt.Fprintln(w, rr)
		}
		for i := range accounts {
			w.WriteString(strings.ReplaceAll(each, template, label(i)))
		}
	})
}

func writeFile(path string, write func(*bufio.Writer)) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<20)
	write(w)
	if err := w.Flush(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// questions makes the query mix: 40 % NAPTR, 30 % SRV, 20 % A, 5 % AAAA, 5 % names that do not
// exist, over accounts by Zipf's law, the ranks permuted. The same every time.
func questions(accounts int) [][]byte {
	source := rand.New(rand.NewPCG(mixSeed, mixSeed))
	ranks := source.Perm(accounts)
	zipf := rand.NewZipf(source, zipfS, 1, uint64(accounts-1))
	all := make([][]byte, mixSize)
	for i := range all {
		name := label(ranks[zipf.Uint64()]) + "." + apex + "."
		kind := dns.TypeNAPTR
		switch p := source.IntN(100); {
		case p < 40:
		case p < 55:
			name, kind = "_sip._udp."+name, dns.TypeSRV
		case p < 70:
			name, kind = "_sip._tcp."+name, dns.TypeSRV
		case p < 90:
			kind = dns.TypeA
		case p < 95:
			kind = dns.TypeAAAA
		default:
			name = "x" + name
		}
		question := new(dns.Msg)
		question.SetQuestion(name, kind)
		question.RecursionDesired = false
		packed, err := question.Pack()
		if err != nil {
			panic(err) // the names are ours
		}
		all[i] = packed
	}
	return all
}
