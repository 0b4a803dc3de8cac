package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The servers stand at addresses of their own, so that none can take another's questions.
const (
	dnsPort    = 5300
	tandemAddr = "127.53.0.1"
)

// contender is one server of the benchmark.
type contender struct {
	name    string
	addr    netip.AddrPort
	process *process
	loadCPU time.Duration // used from start to first answer
	first   time.Duration // wall clock from start to first answer
	closed  []float64     // CPU seconds a million answers, a value a round
	low     []float64
	rate    []float64
	p50     []float64 // microseconds, low rate
	octets  []float64
}

// benchDNS measures answers, memory and start beside gdnsd, NSD and Knot on the same zone.
func benchDNS(ctx context.Context, o options, dir string) error {
	machine()
	interleaved(o)
	tandem, empty, err := startTandem(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { tandem.process.stop() }()
	if tandem, err = restartTandem(ctx, o, dir, tandem); err != nil {
		return err
	}
	full := tandem.process.memory()
	all := []*contender{tandem}
	peers, err := startPeers(ctx, o, dir, tandem.addr)
	for _, p := range peers {
		defer p.process.stop()
	}
	if err != nil {
		return err
	}
	all = append(all, peers...)
	asked := questions(o.accounts)
	condition("zone", "%d accounts, the same records at every server (learnt from tandem)", o.accounts)
	condition("questions", "%d, 40 %% NAPTR, 30 %% SRV, 20 %% A, 5 %% AAAA, 5 %% NXDOMAIN, Zipf 1.1, no EDNS", len(asked))
	if err := compareAnswers(asked, all); err != nil {
		return err
	}
	for round := range o.rounds {
		for i := range all {
			if err := all[(round+i)%len(all)].measure(ctx, o, asked); err != nil {
				return err
			}
		}
	}
	reportDNS(o, all, empty, full)
	return ctx.Err()
}

// measure runs both loads against one server.
func (c *contender) measure(ctx context.Context, o options, asked [][]byte) error {
	length := time.Duration(o.seconds * float64(time.Second))
	for _, l := range []load{
		{questions: asked, outstanding: 256, length: length},
		{questions: asked, rate: 4000, length: length},
	} {
		before := c.process.cpu()
		r, err := blast(ctx, c.addr, l)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		cost := (c.process.cpu() - before).Seconds() / float64(r.answers) * 1e6
		if l.rate > 0 {
			c.low = append(c.low, cost)
			c.p50 = append(c.p50, float64(r.p50.Microseconds()))
		} else {
			c.closed = append(c.closed, cost)
			c.rate = append(c.rate, float64(r.answers)/r.seconds)
			c.octets = append(c.octets, float64(r.octets)/float64(r.answers))
		}
		if r.lost*100 > r.answers {
			condition("loss", "%s lost %d of %d questions in one run", c.name, r.lost, r.answers+r.lost)
		}
	}
	return nil
}

// compareAnswers asks every server the same sample and reports how many answers differ from
// tandem's in code or answer section.
func compareAnswers(asked [][]byte, all []*contender) error {
	const sample = 500
	differ := make(map[string]int)
	for i := range sample {
		question := new(dns.Msg)
		if err := question.Unpack(asked[i*len(asked)/sample]); err != nil {
			return err
		}
		want := ""
		for k, c := range all {
			reply, err := ask(c.addr, question.Question[0].Name, question.Question[0].Qtype)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if got := canonical(reply); k == 0 {
				want = got
			} else if got != want {
				if differ[c.name] == 0 {
					condition("difference", "%s: %s %s, tandem says %q, %s says %q", c.name, question.Question[0].Name,
						dns.TypeToString[question.Question[0].Qtype], want, c.name, got)
				}
				differ[c.name]++
			}
		}
	}
	for _, c := range all[1:] {
		figure("dns-answers-unlike-"+c.name, float64(differ[c.name]), "of-"+fmt.Sprint(sample), "-", "-")
	}
	return nil
}

// canonical writes code and answer section in a form that can be compared. The order of records is
// free, and so is the case of names.
func canonical(reply *dns.Msg) string {
	var lines []string
	for _, rr := range reply.Answer {
		lines = append(lines, strings.ToLower(rr.String()))
	}
	slices.Sort(lines)
	return dns.RcodeToString[reply.Rcode] + " " + strings.Join(lines, "|")
}

// reportDNS prints every server's figures and tandem's ratios to its peers.
func reportDNS(o options, all []*contender, empty, full int64) {
	for _, c := range all {
		figure("dns-closed-cpu-"+c.name, median(c.closed), "s/million", "-", "-")
		figure("dns-4000-cpu-"+c.name, median(c.low), "s/million", "-", "-")
		figure("dns-4000-p50-"+c.name, median(c.p50), "us", "-", "-")
		figure("dns-closed-rate-"+c.name, median(c.rate), "answers/s", "-", "-")
		figure("dns-answer-size-"+c.name, median(c.octets), "octets", "-", "-")
		figure("dns-first-answer-"+c.name, c.first.Seconds(), "s", "-", "-")
		figure("dns-first-answer-cpu-"+c.name, c.loadCPU.Seconds(), "s", "-", "-")
		figure("dns-memory-"+c.name, float64(c.process.memory())/(1<<20), "MiB", "-", "-")
	}
	for _, c := range all[1:] {
		figure("dns-closed-cpu-over-"+c.name, median(ratios(all[0].closed, c.closed)), "x", "-", "-")
		figure("dns-4000-cpu-over-"+c.name, median(ratios(all[0].low, c.low)), "x", "-", "-")
	}
	figure("dns-process-bytes-per-account", float64(full-empty)/float64(o.accounts), "octets", "-", "-")
}

// startTandem starts tandem empty, on all CPUs, applies the accounts and returns it with what it held
// before.
func startTandem(ctx context.Context, o options, dir string) (*contender, int64, error) {
	version := versionOf(o.tandem, "version")
	condition("tandem", "%s, built with %s, GOMAXPROCS 1", version, runtime.Version())
	config := fmt.Sprintf("data: %[1]s/data\ncontrol:\n  socket: %[1]s/tandem.sock\ndns:\n  listen: [%[2]s:%[3]d]\n", dir, tandemAddr, dnsPort)
	if err := os.WriteFile(filepath.Join(dir, "tandem.yaml"), []byte(config), 0o600); err != nil {
		return nil, 0, err
	}
	c := &contender{name: "tandem", addr: addrPort(tandemAddr)}
	var err error
	if c.process, err = launch("tandem", nil, []string{o.tandem, "serve", "-c", filepath.Join(dir, "tandem.yaml")}); err != nil {
		return nil, 0, err
	}
	up := func() bool { return client(ctx, o, dir, "status").Run() == nil }
	if err := c.process.ready(ctx, 30*time.Second, up); err != nil {
		return nil, 0, err
	}
	empty := c.process.memory()
	objects := filepath.Join(dir, "objects.jsonl")
	if err := writeAccounts(objects, tandemAddr, o.accounts); err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	if out, err := client(ctx, o, dir, "apply", "--wait", "-f", objects).CombinedOutput(); err != nil {
		return nil, 0, fmt.Errorf("tandem apply: %w: %s", err, lastLines(string(out), 3))
	}
	figure("apply-rate", float64(o.accounts)/time.Since(begin).Seconds(), "objects/s", ">=", "20000")
	return c, empty, nil
}

// restartTandem starts it again on the data it has, and notes the time to the first answer.
func restartTandem(ctx context.Context, o options, dir string, c *contender) (*contender, error) {
	c.process.stop()
	again, err := start("tandem", []string{"GOMAXPROCS=1"}, o.tandem, "serve", "-c", filepath.Join(dir, "tandem.yaml"))
	if err != nil {
		return c, err
	}
	c.process = again
	return c, c.firstAnswer(ctx, o)
}

// client returns a command that speaks to the tandem under measurement.
func client(ctx context.Context, o options, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, o.tandem, append([]string{"--socket", filepath.Join(dir, "tandem.sock")}, args...)...)
}

// firstAnswer waits for the last account's name to be answered, and notes what that took.
func (c *contender) firstAnswer(ctx context.Context, o options) error {
	return c.firstAnswerOf(ctx, label(o.accounts-1)+"."+apex)
}

// firstAnswerOf is firstAnswer with another name.
func (c *contender) firstAnswerOf(ctx context.Context, name string) error {
	begin := time.Now()
	err := c.process.ready(ctx, 10*time.Minute, func() bool {
		reply, err := ask(c.addr, name, dns.TypeNAPTR)
		return err == nil && reply.Rcode == dns.RcodeSuccess && len(reply.Answer) > 0
	})
	c.first, c.loadCPU = time.Since(begin), c.process.cpu()
	return err
}

func addrPort(addr string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), dnsPort)
}
