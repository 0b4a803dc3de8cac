package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	healthHost     = "127.56.0.1"
	healthClusters = 5                // a kind of fault
	healthRate     = 20               // calls a second to each cluster that is called
	noiseLength    = 60 * time.Second // of what is no fault
	healthLimit    = 30 * time.Second // after which a change is given up
)

// fault is something that happens to a cluster of two nodes.
type fault struct {
	name    string
	manner  manner
	refuses bool // the nodes' sockets close
	called  bool // it shows in calls only
	dead    bool // it has to be noticed as death
}

func faults() []fault {
	return []fault{
		{name: "silent", manner: manner{silent: true}, dead: true},
		{name: "refusing", refuses: true, dead: true},
		{name: "losing", manner: manner{loss: 0.4, low: time.Millisecond, high: 5 * time.Millisecond}},
		{name: "failing", manner: manner{failed: 0.5}, called: true},
		{name: "slow", manner: manner{slow: 3 * time.Second}, called: true},
	}
}

// noise is what every network does.
func noise() manner {
	return manner{loss: 0.05, low: 20 * time.Millisecond, high: 120 * time.Millisecond}
}

// ill is a cluster with its fault.
type ill struct {
	fault
	id     string // of the cluster; its account and group too
	nodes  [2]string
	agents [2]*agent
	caller *agent // nil: it is not called
	uri    string

	closed, opened time.Duration
}

// benchHealth measures how long it takes until the state of nodes is known.
func benchHealth(ctx context.Context, o options, dir string) error {
	e, err := newEdge(o, dir, healthHost)
	if err != nil {
		return err
	}
	if err := e.start(); err != nil {
		return err
	}
	defer func() { e.process.stop() }()
	all, objects, err := newClusters()
	defer func() {
		for _, c := range all {
			c.stop()
		}
	}()
	if err != nil {
		return err
	}
	if err := e.apply(ctx, append(balanceObjects(healthHost, "127.56.128.0/17"), objects...)); err != nil {
		return err
	}
	for _, c := range all {
		if until(ctx, time.Now(), healthLimit, func() bool { return c.isOpen(e, 2) }) >= healthLimit {
			return fmt.Errorf("cluster %s is not found to be good: %s", c.id, lastLines(e.process.output.String(), 5))
		}
	}
	condition("health", "%d clusters of 2 nodes for each fault, probed as by default; from the fault to the state in the log; the worst of all", healthClusters)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, c := range all {
		if c.caller != nil {
			go c.keepCalling(ctx, e)
		}
	}
	var together sync.WaitGroup
	for i, c := range all {
		together.Go(func() { c.suffer(ctx, e, i) })
	}
	together.Wait()
	report(all)
	return errors.Join(ctx.Err(), quiet(ctx, e, all))
}

// newClusters starts the nodes of all clusters, and makes the objects for them. What was started is
// returned with the error too.
func newClusters() (all []*ill, objects []string, err error) {
	for _, f := range faults() {
		for range healthClusters {
			n := len(all)
			c := &ill{fault: f, id: fmt.Sprintf("c%02d", n)}
			c.uri = "sip:201@" + c.id + "." + apex
			all = append(all, c)
			objects = append(objects, `{"kind":"Cluster","id":"`+c.id+`"}`)
			for i := range c.nodes {
				addr := fmt.Sprintf("127.56.%d.%d", 128+n, 1+i)
				if c.agents[i], err = agentAt(addr); err != nil {
					return all, nil, err
				}
				c.nodes[i] = fmt.Sprintf("%sn%d", c.id, i)
				objects = append(objects, nodeObject(c.nodes[i], c.id, addr))
			}
			if f.called {
				addr := fmt.Sprintf("127.56.1.%d", 1+n)
				if c.caller, err = agentAt(addr); err != nil {
					return all, nil, err
				}
				objects = append(objects, accountObjects(c.id, c.id, addr)...)
			}
		}
	}
	return all, objects, nil
}

func (c *ill) stop() {
	for _, a := range append(c.agents[:], c.caller) {
		if a != nil {
			a.stop()
		}
	}
}

// isOpen reports whether so many of the cluster's nodes, at least, take calls.
func (c *ill) isOpen(e *edge, least int) bool {
	n := 0
	for _, node := range c.nodes {
		if state, _ := e.ward.of(node); state == "good" {
			n++
		}
	}
	return n >= least
}

// suffer has the fault happen, waits until it is noticed, ends it, and waits until that is noticed.
func (c *ill) suffer(ctx context.Context, e *edge, n int) {
	time.Sleep(2*time.Second + time.Duration(rand.IntN(1000)+100*n)*time.Millisecond) // not in step with the probes
	begin := time.Now()
	for _, a := range c.agents {
		if a.be(c.manner); c.refuses {
			a.stop()
		}
	}
	c.closed = until(ctx, begin, healthLimit, func() bool { return !c.isOpen(e, 1) })
	time.Sleep(3 * time.Second)
	begin = time.Now()
	for i, a := range c.agents {
		if a.be(manner{}); c.refuses {
			again, err := a.again()
			if err != nil {
				c.opened = healthLimit
				return
			}
			c.agents[i] = again
		}
	}
	c.opened = until(ctx, begin, healthLimit, func() bool { return c.isOpen(e, 1) })
}

// keepCalling makes calls to the cluster, and ends those that are answered, until ctx ends.
func (c *ill) keepCalling(ctx context.Context, e *edge) {
	ticker := time.NewTicker(time.Second / healthRate)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				if d, err := c.caller.call(ctx, e.sip(), c.uri); err == nil { // refused ones are what is measured
					_, _ = c.caller.ask(ctx, e.sip(), d, "BYE", 2)
				}
			}()
		}
	}
}

// report prints the worst time of each fault. How long random loss goes unmet is a matter of luck, and its
// goal is for the median.
func report(all []*ill) {
	for _, f := range faults() {
		var closed, opened []float64
		for _, c := range all {
			if c.name == f.name {
				closed, opened = append(closed, c.closed.Seconds()), append(opened, c.opened.Seconds())
			}
		}
		switch {
		case f.dead:
			figure("lb-"+f.name+"-noticed-dead", slices.Max(closed), "s", "<=", "2")
		case f.manner.loss > 0:
			figure("lb-"+f.name+"-closed-median", median(closed), "s", "<=", "5")
			figure("lb-"+f.name+"-closed-worst", slices.Max(closed), "s", "-", "-")
		default:
			figure("lb-"+f.name+"-closed", slices.Max(closed), "s", "<=", "5")
		}
		figure("lb-"+f.name+"-open-again", slices.Max(opened), "s", "<=", "10")
	}
}

// quiet counts changes of state under noise.
func quiet(ctx context.Context, e *edge, all []*ill) error {
	for _, c := range all {
		if until(ctx, time.Now(), healthLimit, func() bool { return c.isOpen(e, 2) }) >= healthLimit {
			return fmt.Errorf("cluster %s has not recovered", c.id)
		}
	}
	turns := func() (n int) {
		for _, c := range all {
			for _, node := range c.nodes {
				_, t := e.ward.of(node)
				n += t
			}
		}
		return n
	}
	m := noise()
	condition("noise", "%d nodes for %s; %.0f %% of probes lost, round trips %s to %s", 2*len(all), noiseLength, 100*m.loss, m.low, m.high)
	before := turns()
	for _, c := range all {
		for _, a := range c.agents {
			a.be(m)
		}
	}
	until(ctx, time.Now(), noiseLength, func() bool { return false })
	figure("lb-noise-changes-of-state", float64(turns()-before), "changes", "<=", "0")
	return ctx.Err()
}
