package httpproxy

import (
	"io"
	"net/http"
	"time"
)

// notedWriter notes the status for the counters and gives a slow client a time limit a write.
type notedWriter struct {
	http.ResponseWriter
	patience patience
	status   int // zero until the header is written
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (w *notedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the first final status; 101 is final.
func (w *notedWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes within the time limit.
func (w *notedWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.patience.extendWrite()
	return w.ResponseWriter.Write(b)
}

// patience is how long a client may let the other side wait. A deadline is moved before each read
// or write, so that a stream may last but not stall.
type patience struct {
	control *http.ResponseController
	limit   time.Duration
}

func (p patience) extendWrite() {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.limit)) // unsupported by test doubles only
}

func (p patience) extendRead() {
	_ = p.control.SetReadDeadline(time.Now().Add(p.limit))
}

// patientBody is a request body whose every read must end in time, those by which net/http skips
// what no handler read included. At its end the deadline goes, for it would end the watch on the
// connection that net/http keeps during the response.
type patientBody struct {
	io.ReadCloser
	patience patience
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.patience.extendRead()
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.patience.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
