package control

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// DNSStats is what the name server has counted.
type DNSStats struct {
	Series []DNSSeries `json:"series" explain:"Every reading of the name server, in the order of its metrics."`
}

// DNSSeries is one reading of the name server.
type DNSSeries struct {
	Name   string            `json:"name" explain:"Its name as a metric."`
	Help   string            `json:"help" explain:"What it counts."`
	Labels map[string]string `json:"labels,omitempty" explain:"What of it: a transport, a type, an rcode."`
	Total  float64           `json:"total" explain:"Since the start; of a gauge, now."`
	// The three are absent of gauges.
	Last1  *float64 `json:"last1,omitempty" explain:"How many a second within the last second; absent: what is read goes up and down."`
	Last10 *float64 `json:"last10,omitempty" explain:"The same within the last 10 seconds."`
	Last60 *float64 `json:"last60,omitempty" explain:"The same within the last minute."`
}

// DNSTopOf says what is watched for.
type DNSTopOf struct {
	By    string        // name, client, type, zone or rcode; "": name
	For   time.Duration // how long; zero: 10 s; at most a minute
	Limit int           // how many are told; zero: 20; at most 1000
}

// DNSTop is who asked, or what was asked for, most.
type DNSTop struct {
	By      string       `json:"by" explain:"What queries are told apart by."`
	Seconds float64      `json:"seconds" explain:"How long they were watched."`
	Queries uint64       `json:"queries" explain:"How many there were, of those that can be seen, by estimation where not each was looked at."`
	Every   int          `json:"every" explain:"One in so many was looked at."`
	Missed  uint64       `json:"missed,omitempty" explain:"How many were to be looked at and were not, for too many waited."`
	XDP     uint64       `json:"xdp,omitempty" explain:"How many XDP answered, which cannot be seen."`
	Items   []DNSTopItem `json:"items" explain:"The most frequent, the first one first."`
}

// DNSTopItem is one of the most frequent.
type DNSTopItem struct {
	Key     string `json:"key" explain:"The name, client, type, zone or rcode."`
	Queries uint64 `json:"queries" explain:"How many queries, never too low but for what was missed."`
	Error   uint64 `json:"error,omitempty" explain:"By how much queries may be too high."`
}

// Bounds of DNSTopOf.
const (
	topFor     = 10 * time.Second
	mostTopFor = time.Minute
	topLimit   = 20
	mostTop    = 1000
)

// DNSTopKeys returns what DNSTopOf.By may be.
func DNSTopKeys() []string { return []string{"name", "client", "type", "zone", "rcode"} }

// dnsWatchOperations look at the name server's queries. Names are of customers: they are for administrators.
func dnsWatchOperations() []operation {
	return []operation{
		{
			id: "dnsStats", method: http.MethodGet, path: "/v1/dns/stats", admin: true, gives: DNSStats{}, handle: (*call).dnsStats,
			summary: "Tells what the name server has counted, and how fast it grows.",
		}, {
			id: "dnsTop", method: http.MethodGet, path: "/v1/dns/top", admin: true, gives: DNSTop{}, handle: (*call).dnsTop,
			summary: "Watches DNS queries for a while and tells which were the most frequent. Nothing is counted while nobody watches; at most 8 do at once.",
			query: []parameter{
				{"by", "What queries are told apart by: name, client, type, zone or rcode. Default name."},
				{"for", "How long to watch, such as 30s; at most 1m. Default 10s."},
				{"limit", "How many are told, 1 to 1000. Default 20."},
			},
		},
	}
}

func (c *call) dnsStats() error {
	if c.server.deps.DNSStats == nil {
		return c.absent("dns")
	}
	return c.answer(c.server.deps.DNSStats())
}

func (c *call) dnsTop() error {
	if c.server.deps.DNSTop == nil {
		return c.absent("dns")
	}
	of := DNSTopOf{By: c.r.URL.Query().Get("by"), For: topFor}
	if of.By == "" {
		of.By = DNSTopKeys()[0]
	}
	if !slices.Contains(DNSTopKeys(), of.By) {
		return refuse(http.StatusBadRequest, "by: %.40q is not name, client, type, zone or rcode", of.By)
	}
	if text := c.r.URL.Query().Get("for"); text != "" {
		var err error
		if of.For, err = time.ParseDuration(text); err != nil || of.For <= 0 || of.For > mostTopFor {
			return refuse(http.StatusBadRequest, "for: %.40q is not a duration up to 1m, such as 10s", text)
		}
	}
	limit, err := c.query("limit", topLimit, mostTop)
	if err != nil {
		return err
	}
	of.Limit = max(1, int(limit))
	ctx, stop := context.WithCancel(c.r.Context())
	defer stop()
	go func() {
		select {
		case <-c.server.ending:
			stop()
		case <-ctx.Done():
		}
	}()
	top, err := c.server.deps.DNSTop(ctx, of)
	if ctx.Err() != nil {
		return refuse(http.StatusServiceUnavailable, "this tandem is ending")
	}
	if err != nil {
		return err
	}
	return c.answer(top)
}

// DNSStats tells what the name server has counted.
func (c *Client) DNSStats(ctx context.Context) (DNSStats, error) {
	var out DNSStats
	return out, c.ask(ctx, http.MethodGet, "/v1/dns/stats", nil, nil, &out)
}

// DNSTop watches queries for a while, and tells which were the most frequent.
func (c *Client) DNSTop(ctx context.Context, of DNSTopOf) (DNSTop, error) {
	q := url.Values{}
	if of.By != "" {
		q.Set("by", of.By)
	}
	if of.For != 0 {
		q.Set("for", of.For.String())
	}
	if of.Limit != 0 {
		q.Set("limit", strconv.Itoa(of.Limit))
	}
	var out DNSTop
	return out, c.ask(ctx, http.MethodGet, "/v1/dns/top", q, nil, &out)
}
