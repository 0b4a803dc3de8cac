package zonefile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Fields that one type or two have.

// bitmap is the types at a name (RFC 4034 section 4.1.2), in text and wire in the order of their numbers.
var bitmap = field{
	parse: func(w *words) error {
		var types []uint16
		for len(w.tokens) > 0 {
			word, err := w.word()
			if err != nil {
				return err
			}
			t, err := ParseType(word)
			if err != nil {
				return err
			}
			types = append(types, t)
		}
		w.out = AppendBitmap(w.out, types)
		return nil
	},
	print: func(o *octets) error {
		types, ok := BitmapTypes(o.rest)
		if !ok {
			return wrong("RFC 4034 section 4.1.2", "the list of types is not well formed")
		}
		o.rest = nil
		for _, t := range types {
			o.add("%s", TypeText(t))
		}
		return nil
	},
}

// AppendBitmap appends the bitmap of types (RFC 4034 section 4.1.2).
func AppendBitmap(out []byte, types []uint16) []byte {
	types = slices.Clone(types)
	slices.Sort(types)
	for len(types) > 0 {
		window, at := byte(types[0]>>8), len(out)
		out = append(out, window, 0)
		for len(types) > 0 && byte(types[0]>>8) == window {
			octet := int(types[0]&0xff) / 8
			for len(out) < at+3+octet {
				out = append(out, 0)
			}
			out[at+2+octet] |= 0x80 >> (types[0] & 7)
			types = types[1:]
		}
		out[at+1] = byte(len(out) - at - 2)
	}
	return out
}

// BitmapTypes returns the types in a bitmap, and whether it is well formed.
func BitmapTypes(data []byte) (types []uint16, ok bool) {
	last := -1
	for len(data) > 0 {
		if len(data) < 2 || int(data[0]) <= last || data[1] == 0 || data[1] > 32 || len(data) < 2+int(data[1]) {
			return nil, false
		}
		last = int(data[0])
		window := data[2 : 2+data[1]]
		if window[len(window)-1] == 0 {
			return nil, false // zero octets at the end are left out
		}
		for i, c := range window {
			for bit := range 8 {
				if c&(0x80>>bit) != 0 {
					types = append(types, uint16(last)<<8|uint16(8*i+bit))
				}
			}
		}
		data = data[2+len(window):]
	}
	return types, true
}

// oldBitmap is NXT's: one bit a type below 128 (RFC 2535 section 5.2).
var oldBitmap = field{
	parse: func(w *words) error {
		var field [16]byte
		size := 0
		for len(w.tokens) > 0 {
			word, err := w.word()
			if err != nil {
				return err
			}
			t, err := ParseType(word)
			if err != nil || t == 0 || t > 127 {
				return wrong("RFC 2535 section 5.2", "%q is no type from 1 to 127", clip([]byte(word)))
			}
			field[t/8] |= 0x80 >> (t & 7)
			size = max(size, int(t/8)+1)
		}
		w.out = append(w.out, field[:size]...)
		return nil
	},
	print: func(o *octets) error {
		b, _ := o.take(len(o.rest))
		if len(b) > 16 || len(b) > 0 && (b[len(b)-1] == 0 || b[0]&0x80 != 0) {
			return wrong("RFC 2535 section 5.2", "the list of types is not well formed")
		}
		for t := range 8 * len(b) {
			if b[t/8]&(0x80>>(t&7)) != 0 {
				o.add("%s", TypeText(uint16(t)))
			}
		}
		return nil
	},
}

// services are WKS's protocol and ports (RFC 1035 section 3.4.2); protocol and services by number, tcp and
// udp also by name.
var services = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		protocol, ok := map[string]uint64{"TCP": 6, "UDP": 17}[strings.ToUpper(word)]
		if !ok {
			if protocol, err = strconv.ParseUint(word, 10, 8); err != nil {
				return wrong("RFC 1035 section 3.4.2", "%q is no protocol: tcp, udp or a number", clip([]byte(word)))
			}
		}
		var ports []byte
		for len(w.tokens) > 0 {
			if word, err = w.word(); err != nil {
				return err
			}
			port, err := strconv.ParseUint(word, 10, 16)
			if err != nil {
				return wrong("RFC 1035 section 3.4.2", "%q is no port number", clip([]byte(word)))
			}
			for len(ports) <= int(port/8) {
				ports = append(ports, 0)
			}
			ports[port/8] |= 0x80 >> (port & 7)
		}
		w.out = append(append(w.out, byte(protocol)), ports...)
		return nil
	},
	print: func(o *octets) error {
		protocol, err := o.take(1)
		if err != nil {
			return err
		}
		o.add("%d", protocol[0])
		b, _ := o.take(len(o.rest))
		if len(b) > 8192 || len(b) > 0 && b[len(b)-1] == 0 {
			return errors.New("the list of ports is not well formed")
		}
		for port := range 8 * len(b) {
			if b[port/8]&(0x80>>(port&7)) != 0 {
				o.add("%d", port)
			}
		}
		return nil
	},
}

// nsap is 0x and hexadecimal digits with dots anywhere (RFC 1706 section 5).
var nsap = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		digits, ok := strings.CutPrefix(strings.ToLower(word), "0x")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, ".", ""))
		if !ok || err != nil || len(b) == 0 {
			return wrong("RFC 1706 section 5", "%q is not 0x and hexadecimal digits", clip([]byte(word)))
		}
		w.out = append(w.out, b...)
		return nil
	},
	print: func(o *octets) error {
		b, _ := o.take(len(o.rest))
		if len(b) == 0 {
			return errShort
		}
		o.add("0x%x", b)
		return nil
	},
}

// atmAddress is + and digits (E.164) or hexadecimal digits with dots anywhere (AESA).
var atmAddress = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		digits := strings.ReplaceAll(word, ".", "")
		if number, ok := strings.CutPrefix(digits, "+"); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			w.out = append(append(w.out, 1), number...)
			return nil
		}
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) == 0 {
			return wrong("", "%q is no ATM address: + and digits, or hexadecimal digits", clip([]byte(word)))
		}
		w.out = append(append(w.out, 0), b...)
		return nil
	},
	print: func(o *octets) error {
		kind, err := o.take(1)
		b, _ := o.take(len(o.rest))
		switch {
		case err != nil || len(b) == 0 || kind[0] > 1:
			return errShort
		case kind[0] == 0:
			o.add("%x", b)
		case strings.Trim(string(b), "0123456789") != "":
			return errors.New("the number is not of digits")
		default:
			o.add("+%s", b)
		}
		return nil
	},
}

// address6Chain is A6's: prefix length, the end of an address, and the name that has its beginning (RFC
// 2874 section 3.1).
var address6Chain = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		length, err := strconv.ParseUint(word, 10, 8)
		if err != nil || length > 128 {
			return wrong("RFC 2874 section 3.1", "%q is no prefix length up to 128", clip([]byte(word)))
		}
		w.out = append(w.out, byte(length))
		if length < 128 {
			if word, err = w.word(); err != nil {
				return err
			}
			a, err := netip.ParseAddr(word)
			if err != nil || !a.Is6() || a.Zone() != "" {
				return wrong("RFC 2874 section 3.1", "%q is no IPv6 address", clip([]byte(word)))
			}
			b := a.As16()
			suffix := b[length/8:]
			suffix[0] &= 0xff >> (length % 8)
			w.out = append(w.out, suffix...)
		}
		if length > 0 {
			return name.parse(w)
		}
		return nil
	},
	print: func(o *octets) error {
		length, err := o.take(1)
		if err != nil || length[0] > 128 {
			return errShort
		}
		o.add("%d", length[0])
		if length[0] < 128 {
			suffix, err := o.take(16 - int(length[0])/8)
			if err != nil || suffix[0]&^(0xff>>(length[0]%8)) != 0 {
				return errShort
			}
			var b [16]byte
			copy(b[16-len(suffix):], suffix)
			o.add("%s", netip.AddrFrom16(b))
		}
		if length[0] > 0 {
			return name.print(o)
		}
		return nil
	},
}

// prefixes is APL's (RFC 3123 section 5): [!]family:address/length, as many as there are.
var prefixes = field{
	parse: func(w *words) error {
		for len(w.tokens) > 0 {
			word, err := w.word()
			if err != nil {
				return err
			}
			if err := w.putPrefix(word); err != nil {
				return err
			}
		}
		return nil
	},
	print: func(o *octets) error {
		for len(o.rest) > 0 {
			if err := o.prefix(); err != nil {
				return err
			}
		}
		return nil
	},
}

func (w *words) putPrefix(word string) error {
	family, rest, _ := strings.Cut(strings.TrimPrefix(word, "!"), ":")
	p, err := netip.ParsePrefix(rest)
	want := map[bool]string{true: "1", false: "2"}[p.Addr().Is4()]
	if err != nil || family != want {
		return wrong("RFC 3123 section 5", "%q is not [!]1:IPv4/length or [!]2:IPv6/length", clip([]byte(word)))
	}
	part := bytes.TrimRight(p.Addr().AsSlice(), "\x00")
	n := byte(len(part))
	if word[0] == '!' {
		n |= 0x80
	}
	w.out = append(w.out, 0, family[0]-'0', byte(p.Bits()), n)
	w.out = append(w.out, part...)
	return nil
}

func (o *octets) prefix() error {
	head, err := o.take(4)
	if err != nil {
		return err
	}
	part, err := o.take(int(head[3] & 0x7f))
	size := map[uint16]int{1: 4, 2: 16}[binary.BigEndian.Uint16(head)]
	if err != nil || len(part) > size || int(head[2]) > 8*size || size == 0 || len(part) > 0 && part[len(part)-1] == 0 {
		return wrong("RFC 3123 section 4", "a prefix is not well formed")
	}
	a, _ := netip.AddrFromSlice(append(slices.Clone(part), make([]byte, size-len(part))...))
	not := ""
	if head[3]&0x80 != 0 {
		not = "!"
	}
	o.add("%s%d:%s/%d", not, head[1], a, head[2])
	return nil
}

// locator64 is four groups of hexadecimal digits (RFC 6742 section 2.1).
var locator64 = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		parts := strings.Split(word, ":")
		for _, part := range parts {
			n, err := strconv.ParseUint(part, 16, 16)
			if err != nil || len(part) > 4 || len(parts) != 4 {
				return wrong("RFC 6742 section 2.1", "%q is not four groups of hexadecimal digits", clip([]byte(word)))
			}
			w.putInteger(n, 2)
		}
		return nil
	},
	print: func(o *octets) error {
		b, err := o.take(8)
		if err != nil {
			return err
		}
		o.add("%04x:%04x:%04x:%04x", b[:2], b[2:4], b[4:6], b[6:])
		return nil
	},
}

// hardware is octets as pairs of hexadecimal digits with hyphens between (RFC 7043).
func hardware(size int) field {
	return field{
		parse: func(w *words) error {
			word, err := w.word()
			if err != nil {
				return err
			}
			parts := strings.Split(word, "-")
			for _, part := range parts {
				n, err := strconv.ParseUint(part, 16, 8)
				if err != nil || len(part) != 2 || len(parts) != size {
					return wrong("RFC 7043 section 3.2", "%q is not %d pairs of hexadecimal digits with - between", clip([]byte(word)), size)
				}
				w.putInteger(n, 1)
			}
			return nil
		},
		print: func(o *octets) error {
			b, err := o.take(size)
			if err != nil {
				return err
			}
			o.add("% x", b)
			at := len(o.text) - 3*size + 1
			for i := at + 2; i < len(o.text); i += 3 {
				o.text[i] = '-'
			}
			return nil
		},
	}
}

var (
	eui48 = hardware(6)
	eui64 = hardware(8)
)
