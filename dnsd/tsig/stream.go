package tsig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// mostUnsigned is how many messages of one answer may follow each other without a signature (RFC
// 8945 section 5.3.1).
const mostUnsigned = 99

// ErrBad is a message that is not signed as it should be. It says what is wrong, in a TSIG error's name.
var ErrBad = errors.New("bad TSIG")

// Stream signs, or checks, the messages of one answer in their order (RFC 8945 section 5.3.1). The
// first is chained to the request, each other to the one before. It belongs to one goroutine.
type Stream struct {
	key      *Key
	prior    []byte
	started  bool
	now      func() time.Time
	open     digest // of messages since the last signature
	unsigned int
}

// NewStream returns a Stream for the answer to the request whose MAC is prior.
func (k *Key) NewStream(prior []byte, now func() time.Time) *Stream {
	return &Stream{key: k, prior: prior, now: now}
}

// Sign returns msg with its signature. Each message gets one: it costs the same, and no octet is used
// before it is known to be right.
func (s *Stream) Sign(msg []byte) []byte {
	signed, mac := s.key.begin(s.prior).sign(msg, s.key.record(msg, s.now()), s.started)
	s.prior, s.started = mac, true
	return signed
}

// Check takes the next message of an answer. The error wraps ErrBad or is ErrForm. Octets of a message
// without a signature are proven only by a later one; Done says whether all are.
func (s *Stream) Check(msg []byte) error {
	r, err := Find(msg)
	if err != nil {
		return err
	}
	if s.unsigned == 0 {
		s.open = s.key.begin(s.prior)
	}
	if r == nil {
		if s.unsigned++; !s.started || s.unsigned > mostUnsigned {
			return fmt.Errorf("%w: no signature", ErrBad)
		}
		s.open.add(msg, binary.BigEndian.Uint16(msg), int(binary.BigEndian.Uint16(msg[10:])))
		return nil
	}
	if r.Error != NoError && len(r.MAC) == 0 {
		return fmt.Errorf("%w: %s", ErrBad, CodeName(int(r.Error))) // the other side's word, if unproven: it says why
	}
	code, err := s.open.check(msg, r, s.now(), s.started)
	if err != nil {
		return err
	}
	if code == NoError {
		code = int(r.Error)
	}
	if code != NoError {
		return fmt.Errorf("%w: %s", ErrBad, CodeName(code))
	}
	s.prior, s.started, s.unsigned = append([]byte(nil), r.MAC...), true, 0
	return nil
}

// Done reports whether the last message was signed.
func (s *Stream) Done() bool { return s.started && s.unsigned == 0 }

// CodeName returns the name of a TSIG error.
func CodeName(code int) string {
	switch code {
	case NoError:
		return "NOERROR"
	case BadSig:
		return "BADSIG"
	case BadKey:
		return "BADKEY"
	case BadTime:
		return "BADTIME"
	case BadTrunc:
		return "BADTRUNC"
	}
	return fmt.Sprintf("error %d", code)
}
