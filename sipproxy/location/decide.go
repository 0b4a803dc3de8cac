package location

import (
	"slices"
	"time"

	"tandem/internal/tandem"
)

// decision is what a REGISTER comes to.
type decision struct {
	bindings []tandem.Binding // as they are to be
	puts     []tandem.Binding // to write, replacing those of the same device and contact
	deletes  []tandem.Binding // to remove
}

// contactLimit bounds a Contact URI, in octets.
const contactLimit = 1024

// decide is RFC 3261 section 10.3, steps 6 and 7, on the bindings of one address of record. It has
// no effect beyond its result.
func decide(cfg *Config, now time.Time, current []tandem.Binding, r *Request) (decision, error) {
	d := decision{bindings: make([]tandem.Binding, 0, len(current)+len(r.Contacts))}
	for _, b := range current {
		if b.Expires.After(now) {
			d.bindings = append(d.bindings, b)
		} else if r.Star || len(r.Contacts) > 0 {
			d.deletes = append(d.deletes, b)
		}
	}
	var err error
	switch {
	case r.Star && len(r.Contacts) > 0:
		err = ErrWildcard
	case r.Star:
		err = d.clear(r)
	case len(r.Contacts) > cfg.PerAOR:
		err = ErrTooMany
	default:
		err = d.bindAll(cfg, now, r)
	}
	if err != nil {
		return decision{}, err
	}
	d.evict(cfg.PerAOR)
	d.deletes = slices.DeleteFunc(d.deletes, func(b tandem.Binding) bool { return holds(d.puts, &b) })
	return d, nil
}

// holds reports whether list has a binding that is stored in b's place.
func holds(list []tandem.Binding, b *tandem.Binding) bool {
	return slices.ContainsFunc(list, func(x tandem.Binding) bool { return x.Contact == b.Contact && x.Device == b.Device })
}

// clear removes all bindings; each must be older than the request when it is of the same Call-ID.
func (d *decision) clear(r *Request) error {
	for i := range d.bindings {
		if outOfOrder(&d.bindings[i], r) {
			return ErrOrder
		}
	}
	d.deletes = append(d.deletes, d.bindings...)
	d.bindings = nil
	return nil
}

func outOfOrder(b *tandem.Binding, r *Request) bool { return b.CallID == r.CallID && r.CSeq <= b.CSeq }

func (d *decision) bindAll(cfg *Config, now time.Time, r *Request) error {
	for i := range r.Contacts {
		c := &r.Contacts[i]
		if len(c.URI) > contactLimit || !valid(c.URI) {
			return ErrContact
		}
		life, err := cfg.life(c, r.Granted)
		if err != nil {
			return err
		}
		if err := d.bind(now, life, c, r); err != nil {
			return err
		}
	}
	return nil
}

// life returns how long a contact is bound, zero for one that is to be removed.
func (cfg *Config) life(c *Contact, granted bool) (time.Duration, error) {
	if c.Expires < 0 {
		return cfg.Default, nil
	}
	if c.Expires > int64(cfg.Max/time.Second) && !granted {
		return cfg.Max, nil
	}
	life := time.Duration(min(c.Expires, 1<<32)) * time.Second
	if life > 0 && life < cfg.Min && !granted {
		return 0, ErrBrief
	}
	return life, nil
}

// bind puts one contact in the place of those it matches, or removes them when it has no life.
func (d *decision) bind(now time.Time, life time.Duration, c *Contact, r *Request) error {
	place := -1
	kept := d.bindings[:0:0]
	for _, b := range d.bindings {
		if !matches(&b, c) {
			kept = append(kept, b)
			continue
		}
		// A contact that stands twice in one request counts as it stands last.
		fresh := holds(d.puts, &b)
		if !fresh && outOfOrder(&b, r) {
			return ErrOrder
		}
		if fresh {
			d.puts = slices.DeleteFunc(d.puts, func(x tandem.Binding) bool { return holds([]tandem.Binding{b}, &x) })
		}
		d.deletes = append(d.deletes, b)
		if place < 0 {
			place = len(kept)
		}
	}
	d.bindings = kept
	if life == 0 {
		return nil
	}
	b := r.binding(c, now, life)
	if place < 0 {
		place = len(kept)
	}
	d.bindings = slices.Insert(kept, place, b)
	d.puts = append(d.puts, b)
	return nil
}

// matches reports whether a contact means a binding: by URI, or by instance and reg-id (RFC 5626
// section 6), which outlive a change of address.
func matches(b *tandem.Binding, c *Contact) bool {
	if c.RegID != 0 && c.RegID == b.RegID && c.Instance != "" && c.Instance == b.Instance {
		return true
	}
	return Equal(b.Contact, c.URI)
}

// binding makes the record of a contact.
func (r *Request) binding(c *Contact, now time.Time, life time.Duration) tandem.Binding {
	now = now.Truncate(time.Millisecond)
	return tandem.Binding{
		Account: r.Account, Device: r.Device, AOR: r.AOR, Contact: c.URI, Source: r.Source,
		Transport: r.Transport, Listener: r.Listener, Instance: c.Instance, RegID: c.RegID, Q: c.Q,
		CallID: r.CallID, CSeq: r.CSeq, Path: r.Path, UserAgent: r.UserAgent, Edge: r.Edge,
		Expires: now.Add(life), Updated: now,
	}
}

// evict removes what is beyond the limit, the least recently refreshed first.
func (d *decision) evict(limit int) {
	for len(d.bindings) > limit {
		oldest := 0
		for i := range d.bindings {
			if d.bindings[i].Updated.Before(d.bindings[oldest].Updated) {
				oldest = i
			}
		}
		gone := d.bindings[oldest]
		d.puts = slices.DeleteFunc(d.puts, func(b tandem.Binding) bool { return holds([]tandem.Binding{gone}, &b) })
		d.deletes = append(d.deletes, gone)
		d.bindings = slices.Delete(d.bindings, oldest, oldest+1)
	}
}
