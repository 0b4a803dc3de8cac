package dnstap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Control frames of Frame Streams: an escape of four zero octets, the length, the type, and fields.
type control uint32

const (
	controlAccept control = 1
	controlStart  control = 2
	controlStop   control = 3
	controlReady  control = 4
	controlFinish control = 5
)

const (
	contentType  = "protobuf:dnstap.Dnstap"
	fieldContent = 1
	mostControl  = 512 // octets of a control frame, as the specification bounds it
)

// appendControl appends a control frame; all but STOP and FINISH name what the stream holds.
func appendControl(b []byte, c control) []byte {
	size := 4
	if c != controlStop && c != controlFinish {
		size += 8 + len(contentType)
	}
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint32(b, uint32(c))
	if size == 4 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, fieldContent)
	b = binary.BigEndian.AppendUint32(b, uint32(len(contentType)))
	return append(b, contentType...)
}

var errNotFrames = errors.New("the other end does not speak Frame Streams")

// readControl reads the control frame that is expected, in ACCEPT with our content type among its
// fields.
func readControl(r io.Reader, want control) error {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if binary.BigEndian.Uint32(head[:]) != 0 || size < 4 || size > mostControl {
		return errNotFrames
	}
	if got := control(binary.BigEndian.Uint32(head[8:])); got != want {
		return fmt.Errorf("%w: control frame %d, want %d", errNotFrames, got, want)
	}
	fields := make([]byte, size-4)
	if _, err := io.ReadFull(r, fields); err != nil {
		return err
	}
	if want != controlAccept || len(fields) == 0 || acceptsUs(fields) {
		return nil
	}
	return errors.New("the other end does not take dnstap")
}

// acceptsUs reports whether our content type is among those named.
func acceptsUs(fields []byte) bool {
	for len(fields) >= 8 {
		kind, n := binary.BigEndian.Uint32(fields), binary.BigEndian.Uint32(fields[4:])
		fields = fields[8:]
		if uint64(n) > uint64(len(fields)) {
			return false
		}
		if kind == fieldContent && string(fields[:n]) == contentType {
			return true
		}
		fields = fields[n:]
	}
	return false
}
