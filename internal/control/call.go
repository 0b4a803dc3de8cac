package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"tandem/internal/tandem"
)

// call is one request on its way through its operation.
type call struct {
	server  *Server
	op      *operation
	by      tandem.Principal
	w       http.ResponseWriter
	r       *http.Request
	http    *http.ResponseController
	started bool // the answer has begun: its status can no longer change
}

// awaitBody gives the client the usual time to send more.
func (c *call) awaitBody() {
	// A connection without deadlines is a test's; there is nothing to be done about it.
	_ = c.http.SetReadDeadline(time.Now().Add(patience))
}

// bodyRead ends that time: while an answer is being made, silence is not the client's fault.
func (c *call) bodyRead() {
	_ = c.http.SetReadDeadline(time.Time{}) // as in awaitBody
}

// awaitReader gives the client the usual time to take more of the answer.
func (c *call) awaitReader() {
	_ = c.http.SetWriteDeadline(time.Now().Add(patience)) // as in awaitBody
}

// answer sends v as JSON.
func (c *call) answer(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.awaitReader()
	c.w.Header().Set("Content-Type", "application/json")
	c.started = true
	_, _ = c.w.Write(append(data, '\n')) // a client that has gone needs no answer
	return nil
}

// fail answers an error: as the answer, or as the last event of one that has begun.
func (c *call) fail(err error) {
	e := asError(err)
	c.awaitReader()
	if !c.started {
		c.server.answerError(c.w, e)
		return
	}
	c.server.requests[e.Status/100].Add(1)
	c.event(Event{Error: e})
}

// answerError sends an error as an answer.
func (s *Server) answerError(w http.ResponseWriter, err error) {
	e := asError(err)
	s.requests[e.Status/100].Add(1)
	if e.Status >= http.StatusInternalServerError {
		s.log.Warn("request failed", "error", e.Message)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e) // a client that has gone needs no answer
}

// event sends one line of a streamed answer.
func (c *call) event(e Event) {
	if !c.started {
		c.w.Header().Set("Content-Type", "application/x-ndjson")
		c.started = true
	}
	c.awaitReader()
	_ = json.NewEncoder(c.w).Encode(e) // the request's context tells of a client that has gone
	_ = c.http.Flush()
}

// read decodes the request's body of one JSON value into v, strictly.
func (c *call) read(v any) error {
	c.awaitBody()
	defer c.bodyRead()
	d := json.NewDecoder(c.r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	var tooLong *http.MaxBytesError
	if err == nil || errors.As(err, &tooLong) {
		return err
	}
	return refuse(http.StatusBadRequest, "the body is not what %s takes: %v", c.op.id, err)
}

// query returns a number from the query, or fallback when it is absent.
func (c *call) query(name string, fallback, most uint64) (uint64, error) {
	value := c.r.URL.Query().Get(name)
	if value == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n > most {
		return 0, refuse(http.StatusBadRequest, "%s: %.40q is not a number from 0 to %d", name, value, most)
	}
	return n, nil
}

// receive takes the request's documents in: short ones in memory, long ones in a file without a
// name, so that nothing stays behind however this process ends.
func (c *call) receive() (body, func(), error) {
	b := body{name: c.r.URL.Query().Get("name"), shrink: c.r.URL.Query().Get("allow-shrink") == "1"}
	if b.name == "" {
		b.name = "(body)"
	}
	c.awaitBody()
	defer c.bodyRead()
	in := &patient{Reader: http.MaxBytesReader(c.w, c.r.Body, c.server.cfg.MaxDocuments), call: c}
	head := new(bytes.Buffer)
	n, err := io.CopyN(head, in, maxBody)
	if errors.Is(err, io.EOF) {
		b.in, b.size = bytes.NewReader(head.Bytes()), n
		return b, func() {}, nil
	}
	if err != nil {
		return b, nil, received(err)
	}
	spool, err := os.CreateTemp(c.server.cfg.Spool, "tandem-documents-*")
	if err != nil {
		return b, nil, fmt.Errorf("spool the documents: %w", err)
	}
	closeSpool := func() { _ = spool.Close() } // nothing in it is needed any more
	if err := os.Remove(spool.Name()); err != nil {
		closeSpool()
		return b, nil, fmt.Errorf("spool the documents: %w", err)
	}
	b.in = spool
	if b.size, err = io.Copy(spool, io.MultiReader(head, in)); err != nil {
		closeSpool()
		return b, nil, received(err)
	}
	return b, closeSpool, nil
}

// received tells a body that is too long from one that broke off.
func received(err error) error {
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return err
	}
	return refuse(http.StatusBadRequest, "the documents broke off: %v", err)
}

// patient is a body whose reader gives the client more time with each part that comes.
type patient struct {
	io.Reader
	call *call
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.call.awaitBody()
	}
	return n, err
}
