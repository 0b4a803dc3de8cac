package sipproxy

import "tandem/sipproxy/wire"

// best chooses among final responses (RFC 3261 section 16.7 step 6): a 6xx, else the lowest class, within
// 4xx one that says what to do. Challenges of all branches are put together.
func (f *forwarding) best() *wire.Message {
	var best *wire.Message
	for _, l := range f.legs {
		if best == nil || rank(l.final) < rank(best) {
			best = l.final
		}
	}
	switch {
	case best == nil:
		return f.tx.req.Response(480, statusText(480), f.w.branches.tag(f.tx.req))
	case f.cancelled && (best.Status == 408 || best.Status == 503):
		return f.tx.req.Response(487, statusText(487), f.w.branches.tag(f.tx.req))
	case best.Status == 503 && best.Reason == unreached:
		best.Headers = append(best.Headers, wire.Field(wire.NameRetryAfter, "5"))
		if f.call != nil {
			best.Headers = append(best.Headers, wire.Header{Raw: "Reason", Value: `SIP;cause=503;text="no-node"`})
		}
	case best.Status == 503:
		// The next request of this caller may well find a server: not 503 (section 16.7 step 6).
		return f.tx.req.Response(500, "Server Internal Error: no target served", f.w.branches.tag(f.tx.req))
	case best.Status == 401 || best.Status == 407:
		return f.challenges(best)
	}
	return best
}

// rank orders final responses, the best lowest.
func rank(m *wire.Message) int {
	switch {
	case m.Status >= 600:
		return 0
	case m.Status == 401, m.Status == 407, m.Status == 415, m.Status == 420, m.Status == 484:
		return 400
	case m.Status == 408:
		return 499 // says least about the callee
	case m.Status == 503:
		return 599
	case m.Status >= 400 && m.Status < 500:
		return 401
	}
	return m.Status
}

// challenges adds to best the challenges of the other branches (section 16.7 step 7).
func (f *forwarding) challenges(best *wire.Message) *wire.Message {
	for _, l := range f.legs {
		if l.final == best || l.final.Status != 401 && l.final.Status != 407 {
			continue
		}
		for _, h := range l.final.Headers {
			if h.Name == wire.NameWWWAuthenticate || h.Name == wire.NameProxyAuthenticate {
				best.Headers = append(best.Headers, h)
			}
		}
	}
	return best
}
