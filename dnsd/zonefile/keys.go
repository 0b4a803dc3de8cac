package zonefile

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// Fields of types that lead to gateways and keys.

// gateway reads or writes what IPSECKEY and AMTRELAY have: nothing, an address or a name, by kind.
func (w *words) gateway(kind byte) error {
	switch kind {
	case 0:
		word, err := w.word()
		if err == nil && word != "." {
			err = wrong("", "%q is not the . that type 0 has", clip([]byte(word)))
		}
		return err
	case 1:
		return address4.parse(w)
	case 2:
		return address6.parse(w)
	case 3:
		return name.parse(w)
	}
	return wrong("", "%d is no type of gateway: 0 to 3", kind)
}

func (o *octets) gateway(kind byte) error {
	switch kind {
	case 0:
		o.add(".")
		return nil
	case 1:
		return address4.print(o)
	case 2:
		return address6.print(o)
	case 3:
		return name.print(o)
	}
	return errors.New("unknown type of gateway")
}

// ipsecKey is precedence, gateway type, algorithm, gateway and key (RFC 4025 section 3).
var ipsecKey = field{
	parse: func(w *words) error {
		for range 3 {
			if err := number8.parse(w); err != nil {
				return err
			}
		}
		if err := w.gateway(w.out[1]); err != nil {
			return err
		}
		return base64Maybe.parse(w)
	},
	print: func(o *octets) error {
		if len(o.rest) < 3 {
			return errShort
		}
		kind := o.rest[1]
		o.add("%d %d %d", o.rest[0], kind, o.rest[2])
		o.rest = o.rest[3:]
		if err := o.gateway(kind); err != nil {
			return err
		}
		return base64Maybe.print(o)
	},
}

// amtRelay is precedence, discovery bit, type and relay (RFC 8777 section 4.3).
var amtRelay = field{
	parse: func(w *words) error {
		for range 3 {
			if err := number8.parse(w); err != nil {
				return err
			}
		}
		discovery, kind := w.out[1], w.out[2]
		if discovery > 1 || kind > 3 {
			return wrong("RFC 8777 section 4.3", "discovery is 0 or 1, and the type 0 to 3")
		}
		w.out = append(w.out[:1], discovery<<7|kind)
		return w.gateway(kind)
	},
	print: func(o *octets) error {
		if len(o.rest) < 2 {
			return errShort
		}
		second := o.rest[1]
		o.add("%d %d %d", o.rest[0], second>>7, second&0x7f)
		o.rest = o.rest[2:]
		return o.gateway(second & 0x7f)
	},
}

// hostIdentity is HIP's: algorithm, HIT, key and rendezvous servers (RFC 8005 section 6).
var hostIdentity = field{
	parse: func(w *words) error {
		if err := number8.parse(w); err != nil {
			return err
		}
		tag, err := w.word()
		if err != nil {
			return err
		}
		key, err := w.word()
		if err != nil {
			return err
		}
		hit, err1 := hex.DecodeString(tag)
		octets, err2 := base64.StdEncoding.Strict().DecodeString(key)
		if err1 != nil || err2 != nil || len(hit) == 0 || len(hit) > maxString || len(octets) == 0 || len(octets) > maxData {
			return wrong("RFC 8005 section 6", "HIT in hexadecimal digits and key in base64 are wanted")
		}
		w.out = append([]byte{byte(len(hit))}, w.out...)
		w.putInteger(uint64(len(octets)), 2)
		w.out = append(append(w.out, hit...), octets...)
		for len(w.tokens) > 0 {
			if err := name.parse(w); err != nil {
				return err
			}
		}
		return nil
	},
	print: func(o *octets) error {
		head, err := o.take(4)
		if err != nil {
			return err
		}
		hit, err1 := o.take(int(head[0]))
		key, err2 := o.take(int(binary.BigEndian.Uint16(head[2:])))
		if err1 != nil || err2 != nil || len(hit) == 0 || len(key) == 0 {
			return errShort
		}
		o.add("%d %x %s", head[1], hit, base64.StdEncoding.EncodeToString(key))
		for len(o.rest) > 0 {
			if err := name.print(o); err != nil {
				return err
			}
		}
		return nil
	},
}
