package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	sipPort    = 5060
	sipTandem  = "127.54.0.1"
	sipPeer    = "127.54.0.2"
	sipCaller  = "127.54.0.64"
	sipServer  = "127.54.0.8"
	sipSeconds = 10
)

// The scenarios that sipp plays, and Kamailio's script for the same work.
//
//go:embed uac.xml
var uacScenario string

//go:embed uas.xml
var uasScenario string

//go:embed kamailio.cfg
var kamailioScript string

// sipContender is one proxy of the benchmark.
type sipContender struct {
	name    string
	addr    string
	process *process
	cost    []float64 // CPU seconds a thousand calls
	failed  []float64
	memory  []float64
}

// benchSIP measures a stateful relay of calls beside Kamailio's: INVITE, 100, 180, 200, ACK, BYE,
// 200, all through the proxy by Record-Route, UDP.
func benchSIP(ctx context.Context, o options, dir string) error {
	machine()
	interleaved(o)
	condition("calls", "%d a second for %d s a run, UDP, no digest: a trunk known by its address", o.rate, sipSeconds)
	for name, text := range map[string]string{
		"uac.xml": uacScenario, "uas.xml": uasScenario,
		"kamailio.cfg": strings.NewReplacer("ADDR", sipPeer, "SERVER", sipServer, "MODULES", filepath.Join(o.peers, "usr/lib/x86_64-linux-gnu/kamailio/modules")).Replace(kamailioScript),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	tandem, err := startSIPTandem(ctx, o, dir)
	if err != nil {
		return err
	}
	defer tandem.process.stop()
	kamailio, err := startKamailio(o, dir)
	if err != nil {
		return err
	}
	defer kamailio.process.stop()
	server, err := startServer(dir)
	if err != nil {
		return err
	}
	defer server.stop()
	time.Sleep(time.Second) // all three are up once their sockets are bound
	both := []*sipContender{tandem, kamailio}
	for round := range o.rounds {
		for i := range both {
			if err := both[(round+i)%2].measure(ctx, o, dir); err != nil {
				return err
			}
		}
	}
	for _, c := range both {
		figure("sip-cpu-"+c.name, median(c.cost), "s/1000-calls", "-", "-")
		figure("sip-failed-"+c.name, median(c.failed), "calls", "-", "-")
		figure("sip-memory-"+c.name, median(c.memory), "MiB", "-", "-")
	}
	figure("sip-cpu-over-kamailio", median(ratios(tandem.cost, kamailio.cost)), "x", "-", "-")
	return ctx.Err()
}

// measure plays calls through one proxy.
func (c *sipContender) measure(ctx context.Context, o options, dir string) error {
	calls := o.rate * sipSeconds
	stat := filepath.Join(dir, "stat.csv")
	os.Remove(stat)
	before := c.process.cpu()
	sipp := pinned(ctx, "sipp", c.addr, "-sf", filepath.Join(dir, "uac.xml"), "-i", sipCaller, "-p", fmt.Sprint(sipPort),
		"-bind_local", "-ci", sipCaller, "-nostdin", "-r", fmt.Sprint(o.rate), "-m", fmt.Sprint(calls), "-l", fmt.Sprint(10*o.rate),
		"-trace_stat", "-stf", stat, "-fd", "1", "-recv_timeout", "10000", "-timeout", fmt.Sprint(6*sipSeconds), "-skip_rlimit")
	sipp.Dir = dir
	var out bytes.Buffer
	sipp.Stdout, sipp.Stderr = &out, &out
	if err := sipp.Run(); err != nil && sipp.ProcessState.ExitCode() != 1 {
		return fmt.Errorf("sipp to %s: %w: %s", c.name, err, lastLines(out.String(), 5))
	}
	cost := (c.process.cpu() - before).Seconds()
	succeeded, failed := readStatistics(stat)
	if succeeded == 0 {
		return fmt.Errorf("no call through %s came to its end: %s", c.name, lastLines(c.process.output.String(), 3))
	}
	c.cost = append(c.cost, cost/float64(succeeded)*1000)
	c.failed = append(c.failed, float64(failed))
	c.memory = append(c.memory, float64(c.process.memory())/(1<<20))
	return nil
}

// readStatistics takes the last line of sipp's statistics.
func readStatistics(path string) (succeeded, failed int) {
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 2 {
		return 0, 0
	}
	values := strings.Split(lines[len(lines)-1], ";")
	for i, name := range strings.Split(lines[0], ";") {
		if i >= len(values) {
			break
		}
		switch name {
		case "SuccessfulCall(C)":
			succeeded, _ = strconv.Atoi(values[i])
		case "FailedCall(C)":
			failed, _ = strconv.Atoi(values[i])
		}
	}
	return succeeded, failed
}

// startServer starts the feature server that takes all calls, on the client's CPU.
func startServer(dir string) (*process, error) {
	p := &process{name: "sipp uas", ended: make(chan struct{})}
	p.cmd = pinned(context.Background(), "sipp", "-sf", filepath.Join(dir, "uas.xml"), "-i", sipServer, "-p", fmt.Sprint(sipPort),
		"-bind_local", "-ci", sipServer, "-nostdin", "-skip_rlimit")
	p.cmd.Dir = dir
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func startKamailio(o options, dir string) (*sipContender, error) {
	program := filepath.Join(o.peers, "usr/sbin/kamailio")
	condition("kamailio", "%s, -x fm, two children", debianVersion(o.peers, "kamailio"))
	p, err := start("kamailio", libraryPath(o.peers), program, "-DD", "-E", "-x", "fm", "-m", "512", "-f", filepath.Join(dir, "kamailio.cfg"), "-w", dir, "-Y", dir, "-P", filepath.Join(dir, "kamailio.pid"))
	return &sipContender{name: "kamailio", addr: fmt.Sprintf("%s:%d", sipPeer, sipPort), process: p}, err
}

// startSIPTandem starts tandem with one account whose trunk makes the calls.
func startSIPTandem(ctx context.Context, o options, dir string) (*sipContender, error) {
	condition("tandem", "%s, GOMAXPROCS 1", versionOf(o.tandem, "version"))
	config := fmt.Sprintf("data: %[1]s/data\ncontrol:\n  socket: %[1]s/tandem.sock\ndns:\n  listen: [%[2]s:5300]\nsip:\n  edge: edge1\n  listeners:\n    - {name: public, udp: %[2]s:%[3]d}\n", dir, sipTandem, sipPort)
	if err := os.WriteFile(filepath.Join(dir, "tandem.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := start("tandem", []string{"GOMAXPROCS=1"}, o.tandem, "serve", "-c", filepath.Join(dir, "tandem.yaml"))
	if err != nil {
		return nil, err
	}
	c := &sipContender{name: "tandem", addr: fmt.Sprintf("%s:%d", sipTandem, sipPort), process: p}
	if err := p.ready(ctx, 30*time.Second, func() bool { return client(ctx, o, dir, "status").Run() == nil }); err != nil {
		return c, err
	}
	objects := filepath.Join(dir, "objects.jsonl")
	err = os.WriteFile(objects, []byte(strings.Join([]string{
		`{"kind":"Cluster","id":"east"}`,
		`{"kind":"Node","id":"east1","cluster":"east","addresses":["` + sipServer + `"],"ports":{"udp":5060}}`,
		`{"kind":"Edge","id":"edge1","addresses":["` + sipTandem + `"],"ports":{"udp":5060}}`,
		`{"kind":"Zone","id":"svc.` + apex + `","role":"service"}`,
		`{"kind":"Zone","id":"` + apex + `","role":"accounts","serviceZone":"svc.` + apex + `","edges":["edge1"]}`,
		`{"kind":"Group","id":"gold","cluster":"east"}`,
		`{"kind":"Account","id":"1001","zone":"` + apex + `","labels":[{"label":"alpha"}],"group":"gold"}`,
		`{"kind":"Peer","id":"core","role":"core","networks":["` + sipServer + `/32"],"listener":"public"}`,
		`{"kind":"Peer","id":"pbx","role":"trunk","account":"1001","networks":["` + sipCaller + `/32"],"listener":"public"}`,
		"",
	}, "\n")), 0o600)
	if err != nil {
		return c, err
	}
	if out, err := client(ctx, o, dir, "apply", "--wait", "-f", objects).CombinedOutput(); err != nil {
		return c, fmt.Errorf("tandem apply: %w: %s", err, lastLines(string(out), 3))
	}
	return c, nil
}
