package zonefile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const svcbRule = "RFC 9460 section 2.1"

// Keys of service parameters with a form of their own; all others are octets.
const (
	keyMandatory     = 0
	keyALPN          = 1
	keyNoDefaultALPN = 2
	keyPort          = 3
	keyIPv4Hint      = 4
	keyECH           = 5
	keyIPv6Hint      = 6
	keyOHTTP         = 8
	keyTLSGroups     = 9
	keyDocPath       = 10
	keyPvD           = 11
)

// parameterNames are the registered keys by number (RFC 9460 section 14.3.2 and its successors).
var parameterNames = []string{
	"mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp", "tls-supported-groups", "docpath", "pvd", "oots",
}

func parameterText(key uint16) string {
	if int(key) < len(parameterNames) {
		return parameterNames[key]
	}
	return "key" + strconv.Itoa(int(key))
}

func parameterKey(text string) (uint16, error) {
	if i := slices.Index(parameterNames, text); i >= 0 {
		return uint16(i), nil
	}
	digits, ok := strings.CutPrefix(text, "key")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || n == 65535 || len(digits) > 1 && digits[0] == '0' {
		return 0, wrong(svcbRule, "%q is no key of a service parameter", clip([]byte(text)))
	}
	return uint16(n), nil
}

// parameters are SvcParams (RFC 9460 section 2.1).
var parameters = field{parse: parseParameters, print: printParameters}

func parseParameters(w *words) error {
	values := map[uint16][]byte{}
	var keys []uint16
	for len(w.tokens) > 0 {
		t, _ := w.next()
		if t.quoted {
			return wrong(svcbRule, "\"%s\" stands without a key", clip(t.text))
		}
		label, value, given := bytes.Cut(t.text, []byte("="))
		if given && len(value) == 0 && len(w.tokens) > 0 && w.tokens[0].quoted && w.tokens[0].joined {
			value = w.tokens[0].text
			w.tokens = w.tokens[1:]
		}
		key, err := parameterKey(strings.ToLower(string(label)))
		if err != nil {
			return err
		}
		if _, twice := values[key]; twice {
			return wrong(svcbRule, "%s stands twice", parameterText(key))
		}
		if value, err = unescape(nil, value); err != nil {
			return err
		}
		if parameterText(key) != strings.ToLower(string(label)) {
			// keyNNNNN has octets as they are sent, also where the number has a name (RFC 9460 section 2.1).
			_, err = parameterValue(key, value)
			values[key] = append([]byte{}, value...)
		} else {
			values[key], err = parseParameter(key, value, given)
		}
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if err := checkMandatory(values); err != nil {
		return err
	}
	if binary.BigEndian.Uint16(w.out) == 0 && len(keys) > 0 {
		return wrong("RFC 9460 section 2.4.2", "priority 0 is an alias and has no parameters")
	}
	for _, key := range keys {
		if len(values[key]) > maxData {
			return wrong(svcbRule, "%s is too long", parameterText(key))
		}
		w.putInteger(uint64(key), 2)
		w.putInteger(uint64(len(values[key])), 2)
		w.out = append(w.out, values[key]...)
	}
	return nil
}

// checkMandatory checks RFC 9460 section 8, and that no-default-alpn comes with alpn (section 7.1.1).
func checkMandatory(values map[uint16][]byte) error {
	if _, ok := values[keyNoDefaultALPN]; ok && values[keyALPN] == nil {
		return wrong("RFC 9460 section 7.1.1", "no-default-alpn without alpn")
	}
	list := values[keyMandatory]
	for last := -1; len(list) >= 2; list = list[2:] {
		key := binary.BigEndian.Uint16(list)
		if _, ok := values[key]; !ok || key == keyMandatory || int(key) <= last {
			return wrong("RFC 9460 section 8", "mandatory lists %s, which is not there, itself or stands twice", parameterText(key))
		}
		last = int(key)
	}
	return nil
}

// parseParameter returns a parameter's value in wire form.
func parseParameter(key uint16, value []byte, given bool) ([]byte, error) {
	bad := wrong("RFC 9460 section 7", "%s=%s is no value for it", parameterText(key), clip(value))
	var out []byte
	switch key {
	case keyNoDefaultALPN, keyOHTTP, keyPvD:
		if given && len(value) > 0 {
			return nil, bad
		}
	case keyPort:
		n, err := strconv.ParseUint(string(value), 10, 16)
		if err != nil {
			return nil, bad
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
	case keyMandatory, keyALPN, keyIPv4Hint, keyIPv6Hint, keyTLSGroups, keyDocPath:
		if key == keyDocPath && len(value) == 0 {
			return out, nil // the root (RFC 9953 section 3)
		}
		items, ok := splitList(value)
		if !ok {
			return nil, bad
		}
		if key == keyMandatory {
			slices.SortFunc(items, byKey)
		}
		for _, item := range items {
			var err error
			if out, err = appendItem(out, key, item); err != nil {
				return nil, err
			}
		}
	case keyECH:
		b, err := base64.StdEncoding.Strict().DecodeString(string(value))
		if err != nil || len(b) == 0 {
			return nil, bad
		}
		return b, nil
	default:
		return append(out, value...), nil
	}
	return out, nil
}

func byKey(a, b []byte) int {
	x, _ := parameterKey(string(a))
	y, _ := parameterKey(string(b))
	return int(x) - int(y)
}

// splitList cuts a value-list at commas; \, and \\ are a comma and a backslash (RFC 9460 appendix A.1).
// No item is empty.
func splitList(value []byte) (items [][]byte, ok bool) {
	var item []byte
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value) && (value[i+1] == ',' || value[i+1] == '\\'):
			i++
			item = append(item, value[i])
		case c == ',':
			if len(item) == 0 {
				return nil, false
			}
			items, item = append(items, item), nil
		default:
			item = append(item, c)
		}
	}
	return append(items, item), len(item) > 0
}

// appendItem appends one item of a list in wire form.
func appendItem(out []byte, key uint16, item []byte) ([]byte, error) {
	bad := wrong("RFC 9460 section 7", "%s: %q cannot stand in its list", parameterText(key), clip(item))
	switch key {
	case keyMandatory:
		k, err := parameterKey(string(item))
		return binary.BigEndian.AppendUint16(out, k), err
	case keyALPN, keyDocPath:
		if len(item) > maxString {
			return nil, bad
		}
		return append(append(out, byte(len(item))), item...), nil
	case keyTLSGroups:
		n, err := strconv.ParseUint(string(item), 10, 16)
		if err != nil {
			return nil, bad
		}
		return binary.BigEndian.AppendUint16(out, uint16(n)), nil
	}
	a, err := netip.ParseAddr(string(item))
	if err != nil || a.Zone() != "" || a.Is4() != (key == keyIPv4Hint) {
		return nil, bad
	}
	return append(out, a.AsSlice()...), nil
}

func printParameters(o *octets) error {
	values := map[uint16][]byte{}
	last := -1
	for len(o.rest) > 0 {
		head, err := o.take(4)
		if err != nil {
			return err
		}
		key := binary.BigEndian.Uint16(head)
		value, err := o.take(int(binary.BigEndian.Uint16(head[2:])))
		if err != nil {
			return err
		}
		if int(key) <= last || key == 65535 {
			return wrong("RFC 9460 section 2.2", "the keys are not in ascending order")
		}
		last = int(key)
		if value == nil {
			value = []byte{}
		}
		values[key] = value
		text, err := parameterValue(key, value)
		if err != nil {
			return err
		}
		if o.add("%s", parameterText(key)); text != nil {
			o.text = append(append(o.text, '='), text...)
		}
	}
	return checkMandatory(values)
}

// parameterValue returns a parameter's value as text, nil when it has none.
func parameterValue(key uint16, value []byte) ([]byte, error) {
	bad := wrong("RFC 9460 section 7", "%s: %x is no value for it", parameterText(key), value)
	switch key {
	case keyNoDefaultALPN, keyOHTTP, keyPvD:
		if len(value) > 0 {
			return nil, bad
		}
		return nil, nil
	case keyPort:
		if len(value) != 2 {
			return nil, bad
		}
		return strconv.AppendUint(nil, uint64(binary.BigEndian.Uint16(value)), 10), nil
	case keyECH:
		if len(value) == 0 {
			return nil, bad
		}
		return []byte(base64.StdEncoding.EncodeToString(value)), nil
	case keyMandatory, keyALPN, keyIPv4Hint, keyIPv6Hint, keyTLSGroups, keyDocPath:
		if key == keyDocPath && len(value) == 0 {
			return nil, nil
		}
		list, ok := listText(key, value)
		if !ok {
			return nil, bad
		}
		return list, nil
	}
	if len(value) == 0 {
		return nil, nil
	}
	return quote(value), nil
}

// listText returns a list of items in wire form as text.
func listText(key uint16, value []byte) ([]byte, bool) {
	var items []string
	for len(value) > 0 {
		size := map[uint16]int{keyIPv4Hint: 4, keyIPv6Hint: 16}[key]
		switch {
		case key == keyALPN || key == keyDocPath:
			if size = int(value[0]); size == 0 {
				return nil, false
			}
			value = value[1:]
		case size == 0:
			size = 2
		}
		if len(value) < size {
			return nil, false
		}
		items = append(items, itemText(key, value[:size]))
		value = value[size:]
	}
	list := strings.Join(items, ",")
	if key == keyALPN || key == keyDocPath {
		return quote([]byte(list)), len(items) > 0
	}
	return []byte(list), len(items) > 0
}

func itemText(key uint16, item []byte) string {
	switch key {
	case keyALPN, keyDocPath:
		return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(string(item))
	case keyMandatory:
		return parameterText(binary.BigEndian.Uint16(item))
	case keyTLSGroups:
		return strconv.Itoa(int(binary.BigEndian.Uint16(item)))
	}
	a, _ := netip.AddrFromSlice(item)
	return a.String()
}
