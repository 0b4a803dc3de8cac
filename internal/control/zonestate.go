package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"tandem/internal/tandem"
)

// ZoneRefresh says how a secondary zone is to be refreshed.
type ZoneRefresh struct {
	Zone string `json:"zone" explain:"The zone's id."`
	Anew bool   `json:"anew,omitempty" explain:"True takes the zone whole, whatever its serial."`
}

// zoneOperations are looks at zones among name servers, and the acts on them.
func zoneOperations() []operation {
	return []operation{
		{
			id: "zoneStates", method: http.MethodGet, path: "/v1/dns/zones", admin: true, gives: []tandem.ZoneState(nil), handle: (*call).zoneStates,
			summary: "Tells how zones stand among name servers: serials, secondaries, primaries.",
			query:   []parameter{{"zone", "One zone alone."}, {"after", "Zones after this id."}, {"limit", "How many at most; absent: 1000."}},
		}, {
			id: "refreshZone", method: http.MethodPost, path: "/v1/dns/zones/refresh", admin: true, takes: ZoneRefresh{}, gives: tandem.ZoneState{},
			summary: "Asks a secondary zone's primaries for a newer version now.", handle: (*call).refreshZone,
		},
	}
}

func (c *call) zoneStates() error {
	if c.server.deps.ZoneState == nil {
		return c.absent("dns")
	}
	q := c.r.URL.Query()
	if id := q.Get("zone"); id != "" {
		state, err := c.server.deps.ZoneState(id)
		if err != nil {
			return refuse(http.StatusNotFound, "%v", err)
		}
		return c.answer([]tandem.ZoneState{state})
	}
	limit, err := c.query("limit", 1000, 1000)
	if err != nil {
		return err
	}
	return c.answer(c.server.deps.ZoneStates(q.Get("after"), int(limit)))
}

func (c *call) refreshZone() error {
	var how ZoneRefresh
	if err := c.read(&how); err != nil {
		return err
	}
	if c.server.deps.RefreshZone == nil {
		return c.absent("dns")
	}
	if err := c.server.deps.RefreshZone(how.Zone, how.Anew); err != nil {
		return refuse(http.StatusNotFound, "%v", err)
	}
	state, err := c.server.deps.ZoneState(how.Zone)
	if err != nil {
		return refuse(http.StatusNotFound, "%v", err)
	}
	return c.answer(state)
}

// ZoneStates tells how zones stand among name servers: one alone, or with "" a page of those after an id.
func (c *Client) ZoneStates(ctx context.Context, zone, after string, limit int) ([]tandem.ZoneState, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"zone": zone, "after": after} {
		if value != "" {
			q.Set(name, value)
		}
	}
	var out []tandem.ZoneState
	return out, c.ask(ctx, http.MethodGet, "/v1/dns/zones", q, nil, &out)
}

// RefreshZone has a secondary zone's primaries asked for a newer version now, or the zone taken whole.
func (c *Client) RefreshZone(ctx context.Context, zone string, anew bool) (tandem.ZoneState, error) {
	var out tandem.ZoneState
	return out, c.ask(ctx, http.MethodPost, "/v1/dns/zones/refresh", nil, ZoneRefresh{Zone: zone, Anew: anew}, &out)
}
