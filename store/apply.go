package store

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"tandem/internal/tandem"
)

// apply writes the plan into a batch: data, indexes, change records. It is what every log, local or
// replicated, does with a checked plan, and depends on the plan and the stored tables alone.
func (t *tables) apply(b *pebble.Batch, p *plan, s *state) error {
	for _, it := range p.items {
		if err := t.applyItem(b, it, s); err != nil {
			return err
		}
	}
	for name, h := range p.claims {
		if err := t.applyClaim(b, name, h); err != nil {
			return err
		}
	}
	for i := range p.records {
		r := &p.records[i]
		t.keyBuf = appendLogKey(t.keyBuf[:0], r.revision)
		t.valueBuf = appendRecord(t.begin(t.valueBuf[:0]), r)
		if err := t.set(b); err != nil {
			return err
		}
		s.last = r.revision
	}
	return nil
}

func (t *tables) applyItem(b *pebble.Batch, it *item, s *state) error {
	t.keyBuf = appendObjectKey(t.keyBuf[:0], it.key)
	if it.was != nil {
		s.digest.remove(t.keyBuf, appendEntry(nil, it.was))
		s.objects--
	}
	if it.is != nil {
		t.valueBuf = appendEntry(t.begin(t.valueBuf[:0]), it.is)
		s.digest.add(t.keyBuf, t.valueBuf[envelopeLen:])
		s.objects++
		if err := t.set(b); err != nil {
			return err
		}
	} else if it.was != nil {
		if err := b.Delete(t.keyBuf, nil); err != nil {
			return err
		}
	}
	if err := t.applyOwner(b, it); err != nil {
		return err
	}
	return t.applyRefs(b, it)
}

func (t *tables) applyOwner(b *pebble.Batch, it *item) error {
	was, is := "", ""
	if it.was != nil {
		was = it.was.owner
	}
	if it.is != nil {
		is = it.is.owner
	}
	if was == is {
		return nil
	}
	if was != "" {
		if err := b.Delete(appendOwnerKey(nil, it.key, was), nil); err != nil {
			return err
		}
	}
	if is == "" {
		return nil
	}
	t.keyBuf = appendOwnerKey(t.keyBuf[:0], it.key, is)
	return t.setEmpty(b)
}

func (t *tables) applyRefs(b *pebble.Batch, it *item) error {
	was, is := refKeys(it.wasObject), refKeys(it.isObject)
	for _, to := range was {
		if !slices.Contains(is, to) {
			if err := b.Delete(appendRefKey(nil, to, it.key), nil); err != nil {
				return err
			}
		}
	}
	for _, to := range is {
		if slices.Contains(was, to) {
			continue
		}
		t.keyBuf = appendRefKey(t.keyBuf[:0], to, it.key)
		if err := t.setEmpty(b); err != nil {
			return err
		}
	}
	return nil
}

// refKeys lists what obj refers to, each once.
func refKeys(obj tandem.Object) []objectKey {
	if obj == nil {
		return nil
	}
	refs := obj.Refs()
	keys := make([]objectKey, 0, len(refs))
	for _, r := range refs {
		if k := (objectKey{r.Kind, r.ID}); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (t *tables) applyClaim(b *pebble.Batch, name claimName, h holder) error {
	t.keyBuf = appendClaimKey(t.keyBuf[:0], name)
	if !h.held && !h.forever {
		return b.Delete(t.keyBuf, nil)
	}
	t.valueBuf = appendHolder(t.begin(t.valueBuf[:0]), h)
	return t.set(b)
}

// set puts the value in valueBuf, whose envelope is still to be finished, under keyBuf.
func (t *tables) set(b *pebble.Batch) error {
	t.finish(t.keyBuf, t.valueBuf)
	return b.Set(t.keyBuf, t.valueBuf, nil)
}

func (t *tables) setEmpty(b *pebble.Batch) error {
	t.valueBuf = t.begin(t.valueBuf[:0])
	return t.set(b)
}
