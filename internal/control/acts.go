package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"tandem/internal/tandem"
)

// Repoint says where one forwarding name of an account is to lead.
type Repoint struct {
	Key     string   `json:"key" explain:"Target key: the first label of the forwarding name."`
	Cluster string   `json:"cluster,omitempty" explain:"A cluster; its nodes are filtered by request type."`
	Nodes   []string `json:"nodes,omitempty" explain:"Node ids, whatever types they serve."`
	Group   bool     `json:"group,omitempty" explain:"True instead of a cluster or nodes: the key follows the account's group again."`
}

// Move says which connection points an account is to have.
type Move struct {
	Edges []string `json:"edges" explain:"Edge ids; empty: those of its zone."`
}

// Moved is what a move comes to.
type Moved struct {
	Revision tandem.Revision `json:"revision" explain:"Revision of the change."`
	// Resolved is a promise of DNS alone: a device follows when it next resolves and registers.
	Resolved time.Time `json:"resolved" explain:"When every cached answer with the old connection points has expired; devices follow at their next registration after it."`
	Behind   int       `json:"behind" explain:"Registrations of the account that are on other edges."`
	Devices  int       `json:"devices" explain:"Registrations of the account."`
}

// PermitRequest asks for a provisioning URL.
type PermitRequest struct {
	Seconds uint32 `json:"seconds,omitempty" explain:"How long the URL is good for. Default a day, at most thirty."`
}

// PermitURL is a provisioning URL. Whoever has it gets the device's configuration, once.
type PermitURL struct {
	URL     string    `json:"url" explain:"The secret URL; it works once."`
	Expires time.Time `json:"expires" explain:"When it stops working."`
}

// BackupRequest names a folder for a copy of the store.
type BackupRequest struct {
	Dir string `json:"dir" explain:"Absolute path of a folder that does not exist yet, on the server's machine."`
}

// absent says that this tandem runs without the part that an operation needs.
func (c *call) absent(part string) error {
	return refuse(http.StatusNotImplemented, "this tandem runs without %s; its configuration file says which parts run", part)
}

func (c *call) openapi() error {
	c.w.Header().Set("Content-Type", "application/json")
	c.started = true
	_, _ = c.w.Write(c.server.openapi) // a client that has gone needs no answer
	return nil
}

func (c *call) explain() error {
	e, err := Explain(c.r.PathValue("path"))
	if err != nil {
		return err
	}
	return c.answer(e)
}

func (c *call) status() error {
	if c.server.deps.Status == nil {
		return c.absent("status")
	}
	return c.answer(c.server.deps.Status())
}

// served waits, within bounds, until every part serves a revision.
func (c *call) served() error {
	const most = 25 * time.Second // below patience, so that the answer still gets through
	rev, err := c.query("revision", 0, 1<<63)
	if err != nil {
		return err
	}
	if c.server.deps.Served != nil {
		ctx, cancel := context.WithTimeout(c.r.Context(), most)
		defer cancel()
		err = c.server.deps.Served(ctx, tandem.Revision(rev))
		if errors.Is(err, context.DeadlineExceeded) {
			return refuse(http.StatusGatewayTimeout, "revision %d is stored, but after %s not every part serves it; tandem status shows which", rev, most)
		}
		if err != nil {
			return err
		}
	}
	return c.answer(Result{Revision: tandem.Revision(rev)})
}

func (c *call) trace() error {
	if c.server.deps.Trace == nil {
		return c.absent("dns")
	}
	q := c.r.URL.Query()
	if q.Get("name") == "" {
		return refuse(http.StatusBadRequest, "name: is missing: the name to explain")
	}
	var from netip.Prefix
	if text := q.Get("from"); text != "" {
		var err error
		if from, err = network(text); err != nil {
			return refuse(http.StatusBadRequest, "from: %.60q is neither an IP address nor a network such as 192.0.2.0/24", text)
		}
	}
	steps, err := c.server.deps.Trace(q.Get("name"), from)
	if err != nil {
		return refuse(http.StatusNotFound, "%v", err)
	}
	return c.answer(steps)
}

// network reads a network, or an address as the network of it alone.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// account returns the account that the query limits the answer to, "" for all.
func (c *call) account() (string, error) {
	id := c.r.URL.Query().Get("account")
	if id == "" {
		return c.by.Account, nil
	}
	o, err := c.server.deps.Reader.Get(c.r.Context(), c.by, tandem.KindAccount, id)
	if errors.Is(err, tandem.ErrNotFound) || err == nil && !c.by.MaySee(o.Owner()) {
		return "", refuse(http.StatusNotFound, "%s %.80s: not found", tandem.KindAccount, id)
	}
	return id, err
}

func (c *call) registrations() error {
	if c.server.deps.Registrations == nil {
		return c.absent("sip")
	}
	id, err := c.account()
	if err != nil {
		return err
	}
	found := c.server.deps.Registrations(c.by, id)
	found = slices.DeleteFunc(slices.Clone(found), func(b tandem.Binding) bool { return !c.by.MaySee(b.Account) })
	if found == nil {
		found = []tandem.Binding{}
	}
	return c.answer(found)
}

// edit changes the object in the path by change, again when someone else was faster. Nothing is
// written when nothing changes; the revision is then the object's own.
func edit[T any, P interface {
	*T
	tandem.Object
}](c *call, k tandem.Kind, change func(P)) (before, after P, rev tandem.Revision, err error) {
	const attempts = 5
	for range attempts {
		var o tandem.Object
		if o, err = c.object(k); err != nil {
			return nil, nil, 0, err
		}
		before = o.(P)
		copied := *before
		after = &copied
		expected := before.Header().Revision
		change(after)
		if err = after.Validate(); err != nil {
			return nil, nil, 0, err
		}
		if reflect.DeepEqual(before, after) {
			return before, after, expected, nil
		}
		after.Header().Revision = 0
		edit := tandem.Edit{Kind: k, ID: after.Header().ID, Object: after, Expected: expected}
		if rev, err = c.server.deps.Store.Append(c.r.Context(), c.by, []tandem.Edit{edit}); err == nil {
			c.server.objects.Add(1)
			return before, after, rev, nil
		}
		if !errors.Is(err, tandem.ErrConflict) {
			break
		}
	}
	return nil, nil, 0, err
}

func (c *call) repoint() error {
	var to Repoint
	if err := c.read(&to); err != nil {
		return err
	}
	if to.Group && (to.Cluster != "" || len(to.Nodes) > 0) {
		return refuse(http.StatusUnprocessableEntity, "group: goes without cluster and nodes")
	}
	_, _, rev, err := edit(c, tandem.KindAccount, func(a *tandem.Account) {
		targets := make(map[string]tandem.TargetSpec, len(a.Targets)+1)
		for k, t := range a.Targets {
			targets[k] = t
		}
		if delete(targets, to.Key); !to.Group {
			targets[to.Key] = tandem.TargetSpec{Cluster: to.Cluster, Nodes: to.Nodes}
		}
		a.Targets = targets
	})
	if err != nil {
		return err
	}
	return c.answer(Result{Total: 1, Changed: 1, Revision: rev})
}

func (c *call) move() error {
	var to Move
	if err := c.read(&to); err != nil {
		return err
	}
	before, after, rev, err := edit(c, tandem.KindAccount, func(a *tandem.Account) { a.Edges = to.Edges })
	if err != nil {
		return err
	}
	moved := Moved{Revision: rev}
	moved.Resolved, err = c.resolvedBy(before, after)
	if err != nil {
		return err
	}
	if c.server.deps.Registrations != nil {
		for _, b := range c.server.deps.Registrations(c.by, after.ID) {
			moved.Devices++
			if len(after.Edges) > 0 && !slices.Contains(after.Edges, b.Edge) {
				moved.Behind++
			}
		}
	}
	return c.answer(moved)
}

// resolvedBy says when no cache holds the account's old connection points any more: SRV and address
// records must run out, and NAPTR too when the new edges offer other transports.
func (c *call) resolvedBy(before, after *tandem.Account) (time.Time, error) {
	ctx, reader := c.r.Context(), c.server.deps.Reader
	admin := tandem.Principal{Name: c.by.Name, Admin: true} // zones and edges are global
	o, err := reader.Get(ctx, admin, tandem.KindZone, after.Zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("zone %s of account %s: %w", after.Zone, after.ID, err)
	}
	zone := o.(*tandem.Zone)
	ttl := after.TTL.Or(zone.TTL).Or(tandem.DefaultTTL())
	seconds := max(ttl.SRV, ttl.Address)
	var offers [2]map[tandem.Transport]bool
	for i, edges := range [][]string{before.Edges, after.Edges} {
		if len(edges) == 0 {
			edges = zone.Edges
		}
		offers[i] = make(map[tandem.Transport]bool)
		for _, id := range edges {
			o, err := reader.Get(ctx, admin, tandem.KindEdge, id)
			if err != nil {
				return time.Time{}, fmt.Errorf("edge %s: %w", id, err)
			}
			for t := tandem.UDP; t <= tandem.HTTPS; t++ {
				if o.(*tandem.Edge).Ports.Of(t) != 0 {
					offers[i][t] = true
				}
			}
		}
	}
	for t := tandem.UDP; t <= tandem.HTTPS; t++ {
		if offers[0][t] != offers[1][t] {
			seconds = max(seconds, ttl.NAPTR)
		}
	}
	return time.Now().Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second), nil
}

func (c *call) permit() error {
	const day, most = 24 * time.Hour, 30 * 24 * time.Hour
	if c.server.deps.Permit == nil {
		return c.absent("provisioning")
	}
	var request PermitRequest
	if err := c.read(&request); err != nil {
		return err
	}
	ttl := time.Duration(request.Seconds) * time.Second
	if ttl == 0 {
		ttl = day
	}
	if ttl > most {
		return refuse(http.StatusUnprocessableEntity, "seconds: %d is over the most, %d", request.Seconds, int(most.Seconds()))
	}
	device, err := c.object(tandem.KindDevice)
	if err != nil {
		return err
	}
	url, err := c.server.deps.Permit(c.r.Context(), c.by, device.Header().ID, ttl)
	if err != nil {
		return err
	}
	return c.answer(PermitURL{URL: url, Expires: time.Now().Add(ttl).UTC().Truncate(time.Second)})
}

func (c *call) verify() error {
	if c.server.deps.Verify == nil {
		return c.absent("a store that can be verified")
	}
	found, err := c.server.deps.Verify(c.r.Context())
	if err != nil {
		return err
	}
	return c.answer(found)
}

func (c *call) backup() error {
	if c.server.deps.Backup == nil {
		return c.absent("a store that can be copied")
	}
	var request BackupRequest
	if err := c.read(&request); err != nil {
		return err
	}
	if !filepath.IsAbs(request.Dir) {
		return refuse(http.StatusUnprocessableEntity, "dir: %.200q is not an absolute path", request.Dir)
	}
	if err := c.server.deps.Backup(c.r.Context(), request.Dir); err != nil {
		return err
	}
	return c.answer(request)
}
