package wire

import (
	"bytes"
	"errors"
)

// What can be wrong with a stream; each ends the connection, for nothing after it can be trusted.
var (
	ErrTooLarge = errors.New("message larger than 64 KiB")
	ErrNoLength = errors.New("message without a sound Content-Length")
)

// Frame finds the end of the first message in the octets of a stream (RFC 3261 section 18.3): it returns how
// many octets the message takes, or 0 when more are needed. Keep-alive CRLFs in front belong to
// nothing and are for the caller to take off (Keepalive).
func Frame(data []byte) (int, error) {
	head := bytes.Index(data, []byte("\r\n\r\n"))
	if head < 0 {
		if len(data) >= MaxMessage {
			return 0, ErrTooLarge
		}
		return 0, nil
	}
	head += 4
	length, ok := contentLength(data[:head])
	if !ok {
		return 0, ErrNoLength
	}
	if length > MaxMessage-head {
		return 0, ErrTooLarge
	}
	if head+length > len(data) {
		return 0, nil
	}
	return head + length, nil
}

// Keepalive counts the octets of CRLFs that data begins with, and says whether they hold a ping, two
// CRLFs, that wants a pong (RFC 5626 section 3.5.1). A single CR waits for its LF.
func Keepalive(data []byte) (n int, ping bool) {
	for n+1 < len(data) && data[n] == '\r' && data[n+1] == '\n' {
		n += 2
	}
	return n, n >= 4
}

// contentLength finds the one Content-Length in a header section; false when there is none, a
// malformed one, or two that differ.
func contentLength(head []byte) (int, bool) {
	found := -1
	eachField(head, func(name, value []byte) bool {
		if nameOf(string(name)) != NameContentLength {
			return true
		}
		n, err := number(string(value), 1<<30)
		if err != nil || found >= 0 && n != found {
			found = -1
			return false
		}
		found = n
		return true
	})
	return found, found >= 0
}

// CallID finds the Call-ID in a message's octets without parsing it, nil when there is none. All
// messages of one dialog give the same, however their fields are written.
func CallID(data []byte) []byte {
	var id []byte
	eachField(data, func(name, value []byte) bool {
		if nameOf(string(name)) != NameCallID {
			return true
		}
		id = value
		return false
	})
	return id
}

// eachField calls fn for each header field until it answers false. A folded value is given up to
// its first line that is not empty.
func eachField(data []byte, fn func(name, value []byte) bool) {
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return
		}
		data = data[i+1:]
		if len(data) == 0 || data[0] == '\r' || data[0] == '\n' {
			return
		}
		if isSpace(data[0]) {
			continue
		}
		colon := bytes.IndexByte(data, ':')
		end := bytes.IndexByte(data, '\n')
		if colon < 0 || end < 0 {
			return
		}
		if colon > end {
			continue
		}
		value := bytes.Trim(data[colon+1:end], " \t\r")
		for len(value) == 0 && end+1 < len(data) && isSpace(data[end+1]) {
			next := bytes.IndexByte(data[end+1:], '\n')
			if next < 0 {
				break
			}
			value = bytes.Trim(data[end+1:end+1+next], " \t\r")
			end += 1 + next
		}
		if !fn(bytes.TrimRight(data[:colon], " \t"), value) {
			return
		}
	}
}
