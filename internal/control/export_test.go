package control

import (
	"bytes"
	"context"
	"iter"
	"net/http"

	"tandem/internal/tandem"
)

// Handler serves s to a principal of the test's choice.
func Handler(s *Server, identify func(*http.Request) (tandem.Principal, error)) http.Handler {
	return s.handler(identify)
}

// Operations lists method and path of all there is.
func Operations() [][2]string {
	var out [][2]string
	for _, op := range operations() {
		out = append(out, [2]string{op.method, op.path})
	}
	return out
}

// Documents decodes a file's documents as the server would, and encodes each again with its kind.
func Documents(data []byte, f int) (objects []tandem.Object, encoded [][]byte, faults []Fault) {
	s := newSchema()
	format := format(f)
	if f == 0 {
		format = sniff("", bytes.NewReader(data), int64(len(data)))
	}
	for r := range documents(bytes.NewReader(data), int64(len(data)), format) {
		out, ok := parser{schema: s, bare: true}.read(format, r)
		if !ok {
			continue
		}
		faults = append(faults, out.faults...)
		if out.object == nil || len(out.faults) > 0 {
			continue
		}
		text, err := withKind(out.object)
		if err != nil {
			panic(err)
		}
		objects, encoded = append(objects, out.object), append(encoded, text)
	}
	return objects, encoded, faults
}

// Abandon closes the socket as a killed process would, leaving its file.
func Abandon(s *Server) {
	s.listener.SetUnlinkOnClose(false)
	_ = s.listener.Close()
}

// InOrder is inOrder for numbers.
func InOrder(ctx context.Context, in iter.Seq[int], work func(int) int, consume func(int) error) error {
	return inOrder(ctx, in, work, consume)
}

// Identify tells who a peer with this uid is.
func Identify(uid uint32) (tandem.Principal, error) {
	r := &http.Request{}
	return identifyPeer(r.WithContext(context.WithValue(context.Background(), peerKey{}, peer{uid: uid})))
}
