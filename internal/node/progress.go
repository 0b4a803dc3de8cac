package node

import (
	"context"
	"sync"

	"tandem/internal/tandem"
)

// progress is a revision that grows, and those who wait for it.
type progress struct {
	mu      sync.Mutex
	current tandem.Revision
	grown   chan struct{} // closed and replaced when current grows
}

func newProgress() *progress { return &progress{grown: make(chan struct{})} }

// advance sets the revision and wakes those who wait.
func (p *progress) advance(to tandem.Revision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = to
	close(p.grown)
	p.grown = make(chan struct{})
}

// at returns the revision and a channel that is closed when it has grown.
func (p *progress) at() (tandem.Revision, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.grown
}

// wait returns once the revision is reached, or with ctx's error.
func (p *progress) wait(ctx context.Context, revision tandem.Revision) error {
	for {
		current, grown := p.at()
		if current >= revision {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
