package control

import (
	"context"
	"slices"

	"tandem/internal/tandem"
)

// rehash makes the hashes of an account's devices again where the batch changes which ones are to be
// kept. It goes ahead of the account's own commit: a hash too many harms nobody, one that is missing
// would lock devices out, and after an interruption the account still differs and all is done again.
// Devices of which only hashes are kept stay as they are.
func (r *run) rehash(ctx context.Context, batch resolved) error {
	for _, it := range batch.intents {
		before, ok := it.old.(*tandem.Account)
		if !ok || it.action != Changed {
			continue
		}
		after := it.edit.Object.(*tandem.Account)
		if slices.Equal(before.KeptHA1(), after.KeptHA1()) {
			continue
		}
		if err := r.rehashDevices(ctx, after); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) rehashDevices(ctx context.Context, account *tandem.Account) error {
	res := r.resolver(true)
	res.accounts[account.ID] = account
	for after := ""; ; {
		page, err := r.deps.Reader.List(ctx, r.by, tandem.KindDevice, account.ID, after, batchSize)
		if err != nil || len(page) == 0 {
			return err
		}
		var edits []tandem.Edit
		for _, o := range page {
			old := o.(*tandem.Device)
			fresh, err := res.fresh(ctx, old, account)
			if err != nil {
				return err
			}
			if fresh.HA1 != old.HA1 {
				edits = append(edits, tandem.Edit{Kind: tandem.KindDevice, ID: old.ID, Object: fresh, Expected: old.Revision})
			}
		}
		if len(edits) > 0 {
			if _, err := r.deps.Store.Append(ctx, r.by, edits); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Header().ID
	}
}

// fresh returns a copy of a device with the hashes that the account wants.
func (r *resolver) fresh(ctx context.Context, old *tandem.Device, account *tandem.Account) (*tandem.Device, error) {
	before, err := r.secretOf(ctx, old)
	if err != nil {
		return nil, err
	}
	fresh := *old
	fresh.Revision = 0
	return &fresh, keepSecret(&fresh, old, account, before)
}
