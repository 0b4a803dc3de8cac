package dnsd

// nearness is where a client is, as a listed resolver says (RFC 7871).
type nearness struct{}

func (w *walk) nearest(_ string, c *composition) *composition { return c }
