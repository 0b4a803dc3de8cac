package lab

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// errRecord says that a NAPTR record's octets are no NAPTR record.
var errRecord = errors.New("malformed NAPTR record")

// readFramed reads one message with its length before it (RFC 1035 section 4.2.2).
func readFramed(from io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(from, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	_, err := io.ReadFull(from, buf[:n])
	return buf[:n], err
}

// readNAPTR returns the NAPTR records of host in an answer, in the order to try them. A name that
// does not exist has none.
func readNAPTR(answer []byte, id uint16, host string) ([]naptr, error) {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil {
		return nil, err
	}
	if !h.Response || h.ID != id {
		return nil, errors.New("answer to another question")
	}
	if h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		return nil, fmt.Errorf("DNS answer %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	var found []naptr
	for {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, err
		}
		raw, ok := r.Body.(*dnsmessage.UnknownResource)
		if !ok || raw.Type != typeNAPTR || !strings.EqualFold(r.Header.Name.String(), host+".") {
			continue
		}
		n, err := parseNAPTR(raw.Data)
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	slices.SortStableFunc(found, func(a, b naptr) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.preference, b.preference))
	})
	return found, nil
}

// parseNAPTR reads a record's data: two numbers, three character strings, a name without
// compression (RFC 3403 section 4.1).
func parseNAPTR(data []byte) (naptr, error) {
	if len(data) < 4 {
		return naptr{}, errRecord
	}
	n := naptr{order: binary.BigEndian.Uint16(data), preference: binary.BigEndian.Uint16(data[2:])}
	data = data[4:]
	var texts [3]string
	for i := range texts {
		if len(data) == 0 || len(data) < 1+int(data[0]) {
			return naptr{}, errRecord
		}
		end := 1 + int(data[0])
		texts[i], data = string(data[1:end]), data[end:]
	}
	n.flags, n.services = texts[0], texts[1]
	var labels []string
	for length := 0; ; {
		if len(data) == 0 || data[0] > 63 || len(data) < 1+int(data[0]) {
			return naptr{}, errRecord
		}
		label := data[1 : 1+data[0]]
		data = data[1+data[0]:]
		if len(label) == 0 {
			break
		}
		if length += 1 + len(label); length > 254 {
			return naptr{}, errRecord
		}
		labels = append(labels, strings.ToLower(string(label)))
	}
	if len(data) != 0 {
		return naptr{}, errRecord
	}
	n.replacement = strings.Join(labels, ".")
	return n, nil
}
