package provision

import (
	"sync"
	"time"

	"tandem/internal/tandem"
)

// permits is what is known of the store's permits without asking it: enough to void an older one,
// to sweep and to bound. The store alone says whether a permit opens.
type permits struct {
	mu       sync.Mutex
	byID     map[string]permit
	byDevice map[string]string // device id → id of its newest permit
}

type permit struct {
	device   string
	revision tandem.Revision
	expires  time.Time
	void     bool // its device has gone
}

func newPermits() *permits {
	return &permits{byID: make(map[string]permit), byDevice: make(map[string]string)}
}

// apply notes a permit's state at a revision; nil means that it is gone.
func (p *permits) apply(id string, revision tandem.Revision, now *tandem.Permit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.byID[id]
	if now == nil {
		delete(p.byID, id)
		if known && p.byDevice[old.device] == id {
			delete(p.byDevice, old.device)
		}
		return
	}
	p.byID[id] = permit{now.Device, revision, now.Expires, old.void}
	if newest, ok := p.byID[p.byDevice[now.Device]]; !ok || newest.revision <= revision {
		p.byDevice[now.Device] = id
	}
}

// forbid voids the permit of a device that was deleted: a later device of that name is another one.
func (p *permits) forbid(device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.byDevice[device]
	if x, ok := p.byID[id]; ok {
		x.void = true
		p.byID[id] = x
	}
}

// void reports whether a permit's device was deleted after it was made.
func (p *permits) void(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id].void
}

// of returns the id of a device's newest permit, "" for none.
func (p *permits) of(device string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byDevice[device]
}

// count returns how many permits are kept.
func (p *permits) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}

// over returns at most most ids of permits that are expired or void at now.
func (p *permits) over(now time.Time, most int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id, x := range p.byID {
		if x.void || now.After(x.expires) {
			if ids = append(ids, id); len(ids) == most {
				break
			}
		}
	}
	return ids
}
