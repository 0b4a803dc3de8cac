package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	crashCalls  = 1000
	crashRate   = 200              // calls a second
	crashHold   = 20 * time.Second // of each call, the crash among it
	hangupCalls = 200
)

// Scenarios of sipp for calls that are up for a while.
//
//go:embed uac_held.xml
var uacHeldScenario string

//go:embed uas_held.xml
var uasHeldScenario string

// benchCalls measures what calls that are up outlive, and how fast they are ended.
func benchCalls(ctx context.Context, o options, dir string) error {
	e, err := newEdge(o, dir, balanceHost)
	if err != nil {
		return err
	}
	if err := e.start(); err != nil {
		return err
	}
	defer func() { e.process.stop() }()
	objects := append(balanceObjects(balanceHost, "127.55.0.8/29"), `{"kind":"Cluster","id":"east"}`)
	for i, addr := range strings.Fields(balanceNodes) {
		objects = append(objects, nodeObject(fmt.Sprint("east", i+1), "east", addr))
	}
	if err := e.apply(ctx, append(objects, accountObjects("alpha", "east", balanceCaller)...)); err != nil {
		return err
	}
	if err := crash(ctx, e); err != nil {
		return err
	}
	return hangups(ctx, e)
}

// crash kills the server with calls up, and starts it again.
func crash(ctx context.Context, e *edge) error {
	condition("crash", "%d calls on 2 nodes, sipp on both sides; kill -9 when all are up; later a re-INVITE and a BYE in each", crashCalls)
	var servers []*heldCalls
	for _, addr := range strings.Fields(balanceNodes) {
		s, err := startHeld(ctx, e, addr, uasHeldScenario)
		if err != nil {
			return err
		}
		defer s.stop()
		servers = append(servers, s)
	}
	time.Sleep(500 * time.Millisecond) // they are up once their sockets are bound
	caller, err := startHeld(ctx, e, balanceCaller, strings.ReplaceAll(uacHeldScenario, "HOLD", fmt.Sprint(crashHold.Milliseconds())), e.sip(),
		"-r", fmt.Sprint(crashRate), "-m", fmt.Sprint(crashCalls), "-l", fmt.Sprint(crashCalls), "-recv_timeout", "20000", "-timeout", "120")
	if err != nil {
		return err
	}
	defer caller.stop()
	slots := func(n float64) func() bool {
		return func() bool { return e.metric(ctx, "tandem_lb_slots") == n }
	}
	if took := until(ctx, time.Now(), crashHold, slots(crashCalls)); took >= crashHold {
		return fmt.Errorf("%v calls are up after %s, not %d: %s", e.metric(ctx, "tandem_lb_slots"), took, crashCalls, lastLines(caller.output.String(), 5))
	}
	time.Sleep(500 * time.Millisecond) // the last ones' records are written behind them
	e.process.kill()
	begin := time.Now()
	if err := e.start(); err != nil {
		return err
	}
	took := until(ctx, begin, crashHold, func() bool {
		ids, err := e.answered(ctx)
		return err == nil && len(ids) == crashCalls && slots(crashCalls)()
	})
	figure("lb-crash-records-and-slots-right", took.Seconds(), "s", "<=", "5")
	<-caller.ended
	figure("lb-crash-slots-free-after-last-bye", until(ctx, time.Now(), crashHold, slots(0)).Seconds(), "s", "-", "-")
	figure("lb-crash-slots-left", e.metric(ctx, "tandem_lb_slots"), "calls", "<=", "0")
	succeeded, failed := readStatistics(caller.statistics)
	figure("lb-crash-calls-ended-well", float64(succeeded), "calls", ">=", fmt.Sprint(crashCalls))
	figure("lb-crash-calls-failed", float64(failed), "calls", "<=", "0")
	reached := 0
	for _, s := range servers {
		s.stop()
		n, _ := readStatistics(s.statistics)
		reached += n
	}
	figure("lb-crash-byes-at-their-node", float64(reached), "calls", ">=", fmt.Sprint(crashCalls))
	return ctx.Err()
}

// heldCalls is one side of calls that are up for a while.
type heldCalls struct {
	cmd        *exec.Cmd
	output     bytes.Buffer
	statistics string
	ended      chan struct{}
}

// startHeld starts sipp with a scenario.
func startHeld(ctx context.Context, e *edge, addr, scenario string, args ...string) (*heldCalls, error) {
	file := filepath.Join(e.dir, addr)
	h := &heldCalls{statistics: file + ".csv", ended: make(chan struct{})}
	if err := os.WriteFile(file+".xml", []byte(scenario), 0o600); err != nil {
		return nil, err
	}
	h.cmd = pinned(ctx, "sipp", append([]string{"-sf", file + ".xml", "-i", addr, "-p", fmt.Sprint(sipPort), "-bind_local", "-ci", addr,
		"-nostdin", "-skip_rlimit", "-trace_stat", "-stf", h.statistics, "-fd", "1"}, args...)...)
	h.cmd.Dir, h.cmd.Stdout, h.cmd.Stderr = e.dir, &h.output, &h.output
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start sipp: %w", err)
	}
	go func() {
		h.cmd.Wait()
		close(h.ended)
	}()
	return h, nil
}

// stop lets sipp write its last statistics and end.
func (h *heldCalls) stop() {
	h.cmd.Process.Signal(os.Interrupt)
	select {
	case <-h.ended:
	case <-time.After(5 * time.Second):
		h.cmd.Process.Kill()
		<-h.ended
	}
}

// hangups ends calls by the API, one after the other.
func hangups(ctx context.Context, e *edge) error {
	condition("hangup", "%d calls are up, ended by the API one after the other; from before the request to the later of both BYEs' arrival", hangupCalls)
	var sides []*agent
	for _, addr := range append(strings.Fields(balanceNodes), balanceCaller) {
		a, err := agentAt(addr)
		if err != nil {
			return err
		}
		defer a.stop()
		sides = append(sides, a)
	}
	caller := sides[len(sides)-1]
	for range hangupCalls {
		setUp, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := caller.call(setUp, e.sip(), "sip:201@alpha."+apex)
		cancel()
		if err != nil {
			return err
		}
	}
	ids, err := e.answered(ctx)
	if err != nil {
		return err
	}
	if len(ids) != hangupCalls {
		return fmt.Errorf("%d calls are up, not %d", len(ids), hangupCalls)
	}
	var took []float64
	for callID, id := range ids {
		begin := time.Now()
		if err := e.hangup(ctx, id); err != nil {
			return err
		}
		if later := laterBye(ctx, sides, callID); !later.IsZero() {
			took = append(took, float64(later.Sub(begin).Microseconds())/1000)
		}
	}
	slices.Sort(took)
	figure("lb-hangup-byes-missing", float64(hangupCalls-len(took)), "calls", "<=", "0")
	if len(took) > 0 {
		figure("lb-hangup-p50", median(took), "ms", "-", "-")
		figure("lb-hangup-p99", took[(len(took)*99+99)/100-1], "ms", "<=", "50")
	}
	return ctx.Err()
}

// laterBye waits until both sides of a call have a BYE, and returns when the later one came; zero when
// one never did.
func laterBye(ctx context.Context, sides []*agent, id string) (later time.Time) {
	until(ctx, time.Now(), 5*time.Second, func() bool {
		var came []time.Time
		for _, a := range sides {
			if t := a.byeOf(id); !t.IsZero() {
				came = append(came, t)
			}
		}
		if len(came) == 2 {
			later = slices.MaxFunc(came, time.Time.Compare)
		}
		return len(came) == 2
	})
	return later
}
