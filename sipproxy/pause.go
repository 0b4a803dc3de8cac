package sipproxy

import (
	"sync"
	"time"
)

// halts is where readers wait while the proxy is paused.
type halts struct {
	mu    sync.Mutex
	ended bool
	over  chan struct{} // not nil: paused; closed when that is over
}

// wait returns once there is no pause.
func (h *halts) wait() {
	h.mu.Lock()
	over := h.over
	h.mu.Unlock()
	if over != nil {
		<-over
	}
}

// end ends the pause there is, and with final any to come; it reports whether there was one.
func (h *halts) end(final bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = h.ended || final
	if h.over == nil {
		return false
	}
	close(h.over)
	h.over = nil
	return true
}

// Pause stops reading datagrams and accepting connections, which then wait in the kernel, and returns when
// what was read is dealt with and what happened in calls is recorded. The sockets stay bound, and another
// process that has them may read on. Resume ends it; so does the end of Run.
func (s *Server) Pause() {
	h := &s.sockets.halts
	h.mu.Lock()
	if h.ended || h.over != nil {
		h.mu.Unlock()
		return
	}
	h.over = make(chan struct{})
	h.mu.Unlock()
	s.sockets.setDeadlines(time.Unix(1, 0))
	time.Sleep(2 * recordsGather) // a worker takes less for its queue, and the recorder no more
}

// Resume reads on after a Pause.
func (s *Server) Resume() {
	s.sockets.setDeadlines(time.Time{})
	s.sockets.halts.end(false)
}

func (n *sockets) setDeadlines(t time.Time) {
	for i := range n.udp {
		if n.udp[i] != nil {
			n.udp[i].SetReadDeadline(t)
		}
		if n.tcp[i] != nil {
			n.tcp[i].SetDeadline(t)
		}
	}
}
