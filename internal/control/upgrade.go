package control

import (
	"net/http"
	"time"
)

// UpgradeRequest asks for the program to be started anew.
type UpgradeRequest struct {
	Patience int `json:"patience,omitempty" explain:"How long the new process may take to load, in seconds; absent: 600."`
}

// Upgraded is the outcome.
type Upgraded struct {
	PID int `json:"pid" explain:"Number of the process that serves now."`
}

// upgrade waits for as long as the new process takes, with a deadline for the answer of its own.
func (c *call) upgrade() error {
	if c.server.deps.Upgrade == nil {
		return c.absent("an upgrade")
	}
	var request UpgradeRequest
	if err := c.read(&request); err != nil {
		return err
	}
	if request.Patience < 0 || request.Patience > 24*3600 {
		return refuse(http.StatusUnprocessableEntity, "patience: is not between 0 and 86400 seconds")
	}
	pid, err := c.server.deps.Upgrade(c.r.Context(), time.Duration(request.Patience)*time.Second)
	if err != nil {
		return err
	}
	return c.answer(Upgraded{PID: pid})
}
