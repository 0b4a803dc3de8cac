package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// edge is a tandem that balances calls, and what is seen of it from outside.
type edge struct {
	options options
	dir     string
	host    string // its address: SIP 5060, DNS 5300, metrics 9153
	process *process
	ward    ward
	control http.Client // over its control socket
}

// ward is what the log said of the nodes' states.
type ward struct {
	mu     sync.Mutex
	states map[string]string // by node
	turns  map[string]int
}

// hear takes a line of the log.
func (w *ward) hear(line string) {
	if !strings.Contains(line, `msg="node changed state"`) {
		return
	}
	_, node, _ := strings.Cut(line, " node=")
	node, _, _ = strings.Cut(node, " ")
	_, state, _ := strings.Cut(line, " state=")
	state, _, _ = strings.Cut(state, " ")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[node] = state
	w.turns[node]++
}

// of returns a node's state, "" before the first, and how often it changed.
func (w *ward) of(node string) (state string, turns int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[node], w.turns[node]
}

// newEdge writes the configuration of an edge, in a directory of its own.
func newEdge(o options, dir, host string) (*edge, error) {
	e := &edge{options: o, dir: dir, host: host, ward: ward{states: make(map[string]string), turns: make(map[string]int)}}
	e.control.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "tandem.sock"))
	}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := strings.NewReplacer("DIR", dir, "HOST", host).Replace(`data: DIR/data
control:
  socket: DIR/tandem.sock
dns:
  listen: [HOST:5300]
sip:
  edge: edge1
  listeners:
    - {name: public, udp: HOST:5060}
metrics:
  listen: HOST:9153
`)
	return e, os.WriteFile(filepath.Join(dir, "tandem.yaml"), []byte(config), 0o600)
}

func (e *edge) sip() string { return fmt.Sprintf("%s:%d", e.host, sipPort) }

// start runs the server, and returns once its process is there.
func (e *edge) start() error {
	p := &process{name: "tandem"}
	p.output.tell = e.ward.hear
	var err error
	e.process, err = begin(p, nil, []string{"taskset", "-c", "0", e.options.tandem, "serve", "-c", filepath.Join(e.dir, "tandem.yaml")})
	return err
}

// apply waits until the server is up and applies objects, one JSON document a line.
func (e *edge) apply(ctx context.Context, objects []string) error {
	up := func() bool { return client(ctx, e.options, e.dir, "status").Run() == nil }
	if err := e.process.ready(ctx, 30*time.Second, up); err != nil {
		return err
	}
	path := filepath.Join(e.dir, "objects.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(objects, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if out, err := client(ctx, e.options, e.dir, "apply", "--wait", "-f", path).CombinedOutput(); err != nil {
		return fmt.Errorf("tandem apply: %w: %s", err, lastLines(string(out), 3))
	}
	return nil
}

// metric returns a reading without labels, -1 when it cannot be had.
func (e *edge) metric(ctx context.Context, name string) float64 {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	text, err := exchange(ctx, http.DefaultClient, http.MethodGet, "http://"+e.host+":9153/metrics", nil)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// answered returns the ids of the answered calls that are up, by Call-ID; the API gives at most 1,000.
func (e *edge) answered(ctx context.Context) (map[string]string, error) {
	text, err := exchange(ctx, &e.control, http.MethodGet, "http://control/v1/calls?state=answered&limit=1000", nil)
	if err != nil {
		return nil, err
	}
	var page struct {
		Items []struct{ ID, CallID string }
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, fmt.Errorf("list of calls: %w", err)
	}
	ids := make(map[string]string, len(page.Items))
	for _, c := range page.Items {
		ids[c.CallID] = c.ID
	}
	return ids, nil
}

// hangup ends a call.
func (e *edge) hangup(ctx context.Context, id string) error {
	_, err := exchange(ctx, &e.control, http.MethodPost, "http://control/v1/calls/"+id+"/hangup", []byte("{}"))
	return err
}

// exchange does one HTTP request.
func exchange(ctx context.Context, c *http.Client, method, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	reply, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, url, reply.Status, text)
	}
	return text, err
}

// until waits for ok, and returns how long that took since a time; at most a limit, with which it gives up.
func until(ctx context.Context, since time.Time, limit time.Duration, ok func() bool) time.Duration {
	for !ok() && ctx.Err() == nil && time.Since(since) < limit {
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(since)
}
