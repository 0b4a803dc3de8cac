package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// zoneCounts are the numbers of zones whose rates are compared.
var zoneCounts = [...]int{1, 100, 100_000}

// zoneAccounts is how many accounts are spread over the zones, whatever their number.
const zoneAccounts = 100_000

// benchScale measures what grows with accounts and zones: start, memory, propagation, rate.
func benchScale(ctx context.Context, o options, dir string) error {
	machine()
	if err := scaleAccounts(ctx, o, dir); err != nil {
		return err
	}
	return scaleZones(ctx, o, dir)
}

// scaleAccounts starts tandem with all accounts in its store, and Knot on a zone with the same answers.
func scaleAccounts(ctx context.Context, o options, dir string) error {
	tandem, empty, err := startTandem(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { tandem.process.stop() }()
	var cpu []float64
	for range o.rounds {
		if tandem, err = restartTandem(ctx, o, dir, tandem); err != nil {
			return err
		}
		cpu = append(cpu, tandem.loadCPU.Seconds())
	}
	n := o.accounts
	figure(fmt.Sprintf("scale-first-answer-%d", n), tandem.first.Seconds(), "s", "<=", "3")
	figure(fmt.Sprintf("scale-first-answer-cpu-%d", n), median(cpu), "s", "-", "-")
	figure(fmt.Sprintf("scale-process-octets-per-account-%d", n), float64(tandem.process.memory()-empty)/float64(n), "octets", "-", "-")
	if err := propagation(ctx, dir, tandem.addr, n); err != nil {
		return err
	}
	if o.peers == "" {
		return nil
	}
	knot, err := startPeer(ctx, o, dir, tandem.addr, "knot")
	if err != nil {
		return err
	}
	defer knot.process.stop()
	figure(fmt.Sprintf("scale-first-answer-cpu-knot-%d", n), knot.loadCPU.Seconds(), "s", "-", "-")
	figure(fmt.Sprintf("scale-first-answer-cpu-over-knot-%d", n), median(cpu)/knot.loadCPU.Seconds(), "x", "<=", "0.1")
	figure(fmt.Sprintf("scale-process-octets-per-account-knot-%d", n), float64(knot.process.memory())/float64(n), "octets", "-", "-")
	return nil
}

// propagation changes one account after the other and asks until the answer shows it. The time is that
// from sending the change, its synced write included.
func propagation(ctx context.Context, dir string, at netip.AddrPort, accounts int) error {
	const changes = 200
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "tandem.sock"))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	var took []float64
	for i := range changes {
		name := fmt.Sprintf("moved%d", i)
		text := accountLine((2*i+1)*accounts/(2*changes), apex, name) // neither the first nor the last one
		begin := time.Now()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://tandem/v1/apply", strings.NewReader(text))
		if err != nil {
			return err
		}
		sent := make(chan error, 1)
		go func() {
			answer, err := client.Do(request)
			if err == nil {
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					err = fmt.Errorf("apply: %s", answer.Status)
				}
			}
			sent <- err
		}()
		question := new(dns.Msg).SetQuestion(name+"."+apex+".", dns.TypeNAPTR)
		for shown := false; !shown && time.Since(begin) < 10*time.Second; {
			reply, err := dns.Exchange(question, at.String())
			shown = err == nil && len(reply.Answer) > 0
		}
		took = append(took, time.Since(begin).Seconds()*1e3)
		if err := <-sent; err != nil {
			return err
		}
	}
	slices.Sort(took)
	figure(fmt.Sprintf("scale-change-p50-%d", accounts), took[changes/2], "ms", "-", "-")
	figure(fmt.Sprintf("scale-change-p99-%d", accounts), took[changes*99/100], "ms", "<=", "10")
	return nil
}

func accountLine(i int, zone, label string) string {
	return fmt.Sprintf(`{"kind":"Account","id":"a%06d","zone":"%s","labels":[{"label":"%s"}],"group":"gold"}`, i, zone, label) + "\n"
}

// scaleZones compares the cost of an answer with few and many zones, side by side.
func scaleZones(ctx context.Context, o options, dir string) error {
	o.accounts = zoneAccounts
	all := make([]*contender, len(zoneCounts))
	questions := make([][][]byte, len(zoneCounts))
	for i, zones := range zoneCounts {
		c, err := startZones(ctx, o, filepath.Join(dir, fmt.Sprint(zones)), zones, fmt.Sprintf("127.53.1.%d", i+1))
		if err != nil {
			return err
		}
		defer c.process.stop()
		all[i], questions[i] = c, zoneQuestions(zones)
		figure(fmt.Sprintf("scale-zones-first-answer-cpu-%d", zones), c.loadCPU.Seconds(), "s", "-", "-")
		figure(fmt.Sprintf("scale-zones-memory-%d", zones), float64(c.process.memory())/(1<<20), "MiB", "-", "-")
	}
	for i, c := range all { // what is made at a name's first question is no part of the rate
		warm := load{questions: questions[i], outstanding: 256, length: 10 * time.Second}
		if _, err := blast(ctx, c.addr, warm); err != nil {
			return err
		}
	}
	for round := range o.rounds {
		for k := range all {
			i := (round + k) % len(all)
			if err := all[i].measure(ctx, o, questions[i]); err != nil {
				return err
			}
		}
	}
	for i, zones := range zoneCounts {
		figure(fmt.Sprintf("scale-zones-closed-cpu-%d", zones), median(all[i].closed), "s/million", "-", "-")
		if i > 0 {
			figure(fmt.Sprintf("scale-zones-closed-cpu-over-one-%d", zones), median(ratios(all[i].closed, all[0].closed)), "x", "<=", "1.1")
		}
	}
	most := zoneCounts[len(zoneCounts)-1]
	grown := all[len(all)-1].process.memory() - all[0].process.memory()
	figure("scale-zones-octets-per-zone", float64(grown)/float64(most), "octets", "-", "-")
	return nil
}

func zoneName(i, zones int) string {
	return fmt.Sprintf("z%05d.example.net", i%zones)
}

// startZones starts a tandem of its own with so many zones, loads it, and starts it again.
func startZones(ctx context.Context, o options, dir string, zones int, addr string) (*contender, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	objects := filepath.Join(dir, "objects.jsonl")
	err := writeFile(objects, func(w *bufio.Writer) {
		w.WriteString(`{"kind":"Cluster","id":"east"}` + "\n" + `{"kind":"Group","id":"gold","cluster":"east"}` + "\n")
		w.WriteString(`{"kind":"Edge","id":"edge1","addresses":["192.0.2.1"],"ports":{"udp":5060,"tcp":5060}}` + "\n")
		w.WriteString(`{"kind":"Zone","id":"svc.example.net","role":"service"}` + "\n")
		for i := range zones {
			fmt.Fprintf(w, `{"kind":"Zone","id":"%s","role":"accounts","serviceZone":"svc.example.net","edges":["edge1"]}`+"\n", zoneName(i, zones))
		}
		for i := range zoneAccounts {
			w.WriteString(accountLine(i, zoneName(i, zones), label(i)))
		}
	})
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("data: %[1]s/data\ncontrol:\n  socket: %[1]s/tandem.sock\ndns:\n  listen: [%[2]s:%[3]d]\n", dir, addr, dnsPort)
	if err := os.WriteFile(filepath.Join(dir, "tandem.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	c := &contender{name: fmt.Sprintf("tandem with %d zones", zones), addr: addrPort(addr)}
	serve := []string{"serve", "-c", filepath.Join(dir, "tandem.yaml")}
	if c.process, err = launch("tandem", nil, append([]string{o.tandem}, serve...)); err != nil {
		return nil, err
	}
	up := func() bool { return client(ctx, o, dir, "status").Run() == nil }
	if err := c.process.ready(ctx, 30*time.Second, up); err != nil {
		return nil, err
	}
	out, err := client(ctx, o, dir, "apply", "--wait", "-f", objects).CombinedOutput()
	c.process.stop()
	if err != nil {
		return nil, fmt.Errorf("tandem apply: %w: %s", err, lastLines(string(out), 3))
	}
	if c.process, err = start("tandem", []string{"GOMAXPROCS=1"}, o.tandem, serve...); err != nil {
		return nil, err
	}
	last := zoneAccounts - 1
	err = c.firstAnswerOf(ctx, label(last)+"."+zoneName(last, zones))
	return c, err
}

// zoneQuestions asks for accounts in all zones.
func zoneQuestions(zones int) [][]byte {
	all := make([][]byte, mixSize)
	for i := range all {
		account := i * 7919 % zoneAccounts
		question := new(dns.Msg).SetQuestion(label(account)+"."+zoneName(account, zones)+".", dns.TypeNAPTR)
		question.RecursionDesired = false
		all[i], _ = question.Pack() // the names are ours
	}
	return all
}
