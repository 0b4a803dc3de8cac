package control

import (
	"context"
	"net/http"

	"tandem/internal/tandem"
)

// Signer is the name server as control needs it for zones' keys.
type Signer interface {
	Signing(zone string) (tandem.ZoneSigning, error)
	// MoveKeys does an act; a tandem.FieldError says why it cannot be done.
	MoveKeys(ctx context.Context, by tandem.Principal, zone string, act tandem.KeyAct) (tandem.Revision, error)
}

// KeyMove says what is to be done about a zone's keys.
type KeyMove struct {
	Act tandem.KeyAct `json:"act" explain:"roll, roll-ksk, roll-zsk, ds-seen (the parent has the DS records that it should have, and no others) or unsign (at once, though caches may hold a DS)."`
}

func signingOperations() []operation {
	return []operation{
		{
			id: "zoneSigning", method: http.MethodGet, path: "/v1/zones/{id}/dnssec", gives: tandem.ZoneSigning{}, handle: (*call).signing,
			summary: "Tells how a zone's keys stand, what DS records its parent should have, and what is waited for.",
		}, {
			id: "moveZoneKeys", method: http.MethodPost, path: "/v1/zones/{id}/dnssec", takes: KeyMove{}, gives: Result{}, handle: (*call).moveKeys,
			summary: "Begins a roll-over of a zone's keys, says that the parent has changed its DS, or takes the keys away.",
		},
	}
}

func (c *call) signing() error {
	o, err := c.object(tandem.KindZone)
	if err != nil {
		return err
	}
	if c.server.deps.Signer == nil {
		return c.absent("dns")
	}
	found, err := c.server.deps.Signer.Signing(o.Header().ID)
	if err != nil {
		return err
	}
	return c.answer(found)
}

func (c *call) moveKeys() error {
	o, err := c.object(tandem.KindZone)
	if err != nil {
		return err
	}
	if c.server.deps.Signer == nil {
		return c.absent("dns")
	}
	var to KeyMove
	if err := c.read(&to); err != nil {
		return err
	}
	rev, err := c.server.deps.Signer.MoveKeys(c.r.Context(), c.by, o.Header().ID, to.Act)
	if err != nil {
		return err
	}
	return c.answer(Result{Total: 1, Changed: 1, Revision: rev})
}

// Signing tells how a zone's keys stand.
func (c *Client) Signing(ctx context.Context, zone string) (tandem.ZoneSigning, error) {
	var out tandem.ZoneSigning
	return out, c.ask(ctx, http.MethodGet, objectPath(tandem.KindZone, zone)+"/dnssec", nil, nil, &out)
}

// MoveKeys does an act about a zone's keys.
func (c *Client) MoveKeys(ctx context.Context, zone string, act tandem.KeyAct) (Result, error) {
	var out Result
	return out, c.ask(ctx, http.MethodPost, objectPath(tandem.KindZone, zone)+"/dnssec", nil, KeyMove{Act: act}, &out)
}
