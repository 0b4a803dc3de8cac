package provision

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"tandem/internal/tandem"
)

// What Permit may refuse with, beside the store's errors. Each is a tandem.FieldError: the asker's
// affair.
var (
	ErrNoSecret error = tandem.FieldError{Reason: "its secret is not kept here, only hashes of it; rotate the secret first"}
	ErrTTL      error = tandem.FieldError{Reason: "a permit lasts from one second to thirty days"}
	ErrFull     error = tandem.FieldError{Reason: "too many permits are open; wait for some to be used or to expire"}
)

// Bounds of a permit's life.
const (
	defaultTTL = time.Hour
	longestTTL = 30 * 24 * time.Hour
)

// Permit returns a secret URL from which the device can fetch its profile once within ttl (zero:
// an hour). A permit that was open for the device opens nothing from now on. A device that by may
// not see is tandem.ErrNotFound.
func (s *Server) Permit(ctx context.Context, by tandem.Principal, device string, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = defaultTTL
	}
	if ttl < time.Second || ttl > longestTTL {
		return "", ErrTTL
	}
	found, err := s.store.Get(ctx, by, tandem.KindDevice, device)
	if err != nil {
		return "", fmt.Errorf("device %s: %w", device, err)
	}
	d := found.(*tandem.Device)
	if len(d.Sealed) == 0 {
		return "", fmt.Errorf("device %s: %w", device, ErrNoSecret)
	}
	if s.open.count() >= s.cfg.MaxOpen {
		return "", ErrFull
	}
	token := rand.Text() // 130 bits
	if err := s.put(ctx, d, tokenID(token), time.Now().Add(ttl)); err != nil {
		return "", err
	}
	s.counters.permits.Add(1)
	s.log.Info("permit made", "device", d.ID, "by", by.Name, "ttl", ttl)
	host := net.JoinHostPort(s.cfg.Host, strconv.Itoa(int(s.port.Load())))
	return "https://" + host + pathPrefix + token, nil
}

// put stores a new permit and deletes the device's older one in the same batch, so that a device
// has one at most. The older one may vanish meanwhile, then the batch is tried again.
func (s *Server) put(ctx context.Context, d *tandem.Device, id string, expires time.Time) error {
	fresh := &tandem.Permit{Head: tandem.Head{ID: id}, Account: d.Account, Device: d.ID, Expires: expires.UTC()}
	s.making.Lock()
	defer s.making.Unlock()
	for {
		edits := []tandem.Edit{{Kind: tandem.KindPermit, ID: id, Object: fresh, Create: true}}
		older := s.open.of(d.ID)
		if older != "" {
			edits = append(edits, tandem.Edit{Kind: tandem.KindPermit, ID: older})
		}
		revision, err := s.store.Append(ctx, own, edits)
		switch {
		case err == nil:
			if older != "" {
				s.open.apply(older, revision, nil)
			}
			s.open.apply(id, revision, fresh)
			return nil
		case older != "" && errors.Is(err, tandem.ErrNotFound):
			s.open.apply(older, 0, nil)
		default:
			return fmt.Errorf("permit for device %s: %w", d.ID, err)
		}
	}
}

// tokenID returns the id of a token's permit.
func tokenID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
