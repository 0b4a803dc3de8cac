package zonefile

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Fields that many types have. Each reads its text and writes the same octets back.

// integer returns a field of so many octets.
func integer(size int) field {
	return field{
		parse: func(w *words) error {
			word, err := w.word()
			if err != nil {
				return err
			}
			n, err := strconv.ParseUint(word, 10, 8*size)
			if err != nil {
				return wrong("", "%q is no number of %d bits", clip([]byte(word)), 8*size)
			}
			w.putInteger(n, size)
			return nil
		},
		print: func(o *octets) error {
			b, err := o.take(size)
			if err != nil {
				return err
			}
			var n uint64
			for _, c := range b {
				n = n<<8 | uint64(c)
			}
			o.add("%d", n)
			return nil
		},
	}
}

func (w *words) putInteger(n uint64, size int) {
	for i := size - 1; i >= 0; i-- {
		w.out = append(w.out, byte(n>>(8*i)))
	}
}

var (
	number8  = integer(1)
	number16 = integer(2)
	number32 = integer(4)
	number64 = integer(8)
)

// period is seconds, also written with units as a TTL.
var period = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		if n, err := strconv.ParseUint(word, 10, 32); err == nil {
			w.putInteger(n, 4)
			return nil
		}
		n, err := parseTTL([]byte(word))
		w.putInteger(uint64(n), 4)
		return err
	},
	print: number32.print,
}

// name is a domain name.
var name = field{
	parse: func(w *words) error {
		word, err := w.next()
		if err != nil {
			return err
		}
		if word.quoted {
			return wrong("RFC 1035 section 5.1", "the name \"%s\" stands in quotes", clip(word.text))
		}
		w.out, err = appendName(w.out, word.text, w.origin)
		return err
	},
	print: func(o *octets) error {
		b, err := o.take(nameEnd(o.rest))
		if err != nil {
			return err
		}
		o.add("%s", appendNameText(nil, b))
		return nil
	},
}

// text is one character-string (RFC 1035 section 3.3).
var text = field{
	parse: func(w *words) error {
		word, err := w.next()
		if err != nil {
			return err
		}
		return w.putString(word.text)
	},
	print: func(o *octets) error {
		n, err := o.take(1)
		if err != nil {
			return err
		}
		b, err := o.take(int(n[0]))
		if err != nil {
			return err
		}
		o.add("%s", quote(b))
		return nil
	},
}

func (w *words) putString(text []byte) error {
	at := len(w.out)
	var err error
	if w.out, err = unescape(append(w.out, 0), text); err != nil {
		return err
	}
	n := len(w.out) - at - 1
	if n > maxString {
		return wrong("RFC 1035 section 3.3", "a string of %d octets, and %d are the most", n, maxString)
	}
	w.out[at] = byte(n)
	return nil
}

// quote returns octets as a string in quotes.
func quote(b []byte) []byte {
	out := []byte{'"'}
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ' || c >= 0x7f:
			out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// textMaybe is a character-string that may be missing.
var textMaybe = field{
	parse: func(w *words) error {
		if len(w.tokens) == 0 {
			return nil
		}
		return text.parse(w)
	},
	print: func(o *octets) error {
		if len(o.rest) == 0 {
			return nil
		}
		return text.print(o)
	},
}

// texts are one or more character-strings.
var texts = field{
	parse: func(w *words) error {
		if len(w.tokens) == 0 {
			return wrong("RFC 1035 section 3.3.14", "no data")
		}
		for len(w.tokens) > 0 {
			if err := text.parse(w); err != nil {
				return err
			}
		}
		return nil
	},
	print: func(o *octets) error {
		for first := true; first || len(o.rest) > 0; first = false {
			if err := text.print(o); err != nil {
				return err
			}
		}
		return nil
	},
}

// target is what fills the rest of RDATA as one string without length (URI, CAA).
var target = field{
	parse: func(w *words) error {
		word, err := w.next()
		if err != nil {
			return err
		}
		w.out, err = unescape(w.out, word.text)
		return err
	},
	print: func(o *octets) error {
		b, _ := o.take(len(o.rest))
		o.add("%s", quote(b))
		return nil
	},
}

// tag is CAA's property (RFC 8659 section 4.1).
var tag = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		if !isTag(word) {
			return wrong("RFC 8659 section 4.1", "%q is no tag of letters and digits", clip([]byte(word)))
		}
		return w.putString([]byte(word))
	},
	print: func(o *octets) error {
		n, err := o.take(1)
		if err != nil {
			return err
		}
		b, err := o.take(int(n[0]))
		if err != nil || !isTag(string(b)) {
			return wrong("RFC 8659 section 4.1", "the tag is not of letters and digits")
		}
		o.add("%s", b)
		return nil
	},
}

func isTag(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	}) < 0
}

// encoded returns a field that fills the rest of RDATA, written in tokens of some alphabet. absent is
// the text of no octets; "" means that there must be some, " " that they may be missing.
func encoded(what, absent string, decode func(string) ([]byte, error), encode func([]byte) string) field {
	return field{
		parse: func(w *words) error {
			if len(w.tokens) == 1 && absent != "" && string(w.tokens[0].text) == absent || len(w.tokens) == 0 && absent == " " {
				w.tokens = nil
				return nil
			}
			var all strings.Builder
			for len(w.tokens) > 0 {
				word, err := w.word()
				if err != nil {
					return err
				}
				all.WriteString(word)
			}
			b, err := decode(all.String())
			if err != nil || len(b) == 0 {
				return wrong("", "%q is not %s", clip([]byte(all.String())), what)
			}
			w.out = append(w.out, b...)
			return nil
		},
		print: func(o *octets) error {
			b, _ := o.take(len(o.rest))
			switch {
			case len(b) > 0:
				o.add("%s", encode(b))
			case absent == "":
				return errShort
			case absent != " ":
				o.add("%s", absent)
			}
			return nil
		},
	}
}

var (
	hexRest     = encoded("hexadecimal digits in pairs", "", hex.DecodeString, hex.EncodeToString)
	base64Rest  = encoded("base64", "", base64.StdEncoding.Strict().DecodeString, base64.StdEncoding.EncodeToString)
	base64Maybe = encoded("base64", " ", base64.StdEncoding.Strict().DecodeString, base64.StdEncoding.EncodeToString)
	base64Dash  = encoded("base64", "-", base64.StdEncoding.Strict().DecodeString, base64.StdEncoding.EncodeToString)
)

// address returns a field that is an IPv4 or IPv6 address.
func address(size int) field {
	return field{
		parse: func(w *words) error {
			word, err := w.word()
			if err != nil {
				return err
			}
			a, err := netip.ParseAddr(word)
			if err != nil || a.BitLen() != 8*size || a.Zone() != "" {
				return wrong("", "%q is no address of %d octets", clip([]byte(word)), size)
			}
			w.out = append(w.out, a.AsSlice()...)
			return nil
		},
		print: func(o *octets) error {
			b, err := o.take(size)
			if err != nil {
				return err
			}
			a, _ := netip.AddrFromSlice(b)
			o.add("%s", a)
			return nil
		},
	}
}

var (
	address4 = address(4)
	address6 = address(16)
)

// mnemonic returns a field of so many octets whose values have names in text that is read.
func mnemonic(size int, names map[string]uint64) field {
	plain := integer(size)
	return field{
		parse: func(w *words) error {
			if len(w.tokens) > 0 {
				if n, ok := names[strings.ToUpper(string(w.tokens[0].text))]; ok {
					w.tokens = w.tokens[1:]
					w.putInteger(n, size)
					return nil
				}
			}
			return plain.parse(w)
		},
		print: plain.print,
	}
}

var (
	// algorithm is a DNSSEC algorithm; names of RFC 4034 appendix A.1 and its successors are read.
	algorithm = mnemonic(1, map[string]uint64{
		"RSAMD5": 1, "DH": 2, "DSA": 3, "ECC": 4, "RSASHA1": 5, "DSA-NSEC3-SHA1": 6, "NSEC3DSA": 6, "RSASHA1-NSEC3-SHA1": 7, "NSEC3RSASHA1": 7,
		"RSASHA256": 8, "RSASHA512": 10, "ECC-GOST": 12, "ECCGOST": 12, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14, "ED25519": 15, "ED448": 16,
		"INDIRECT": 252, "PRIVATEDNS": 253, "PRIVATEOID": 254,
	})
	// certificate is CERT's type (RFC 4398 section 2.1).
	certificate = mnemonic(2, map[string]uint64{
		"PKIX": 1, "SPKI": 2, "PGP": 3, "IPKIX": 4, "ISPKI": 5, "IPGP": 6, "ACPKIX": 7, "IACPKIX": 8, "URI": 253, "OID": 254,
	})
	// dsyncScheme is how to notify (RFC 9859 section 2.1).
	dsyncScheme = mnemonic(1, map[string]uint64{"NOTIFY": 1})
)

// rrtype is a type by name.
var rrtype = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		t, err := ParseType(word)
		w.putInteger(uint64(t), 2)
		return err
	},
	print: func(o *octets) error {
		b, err := o.take(2)
		if err != nil {
			return err
		}
		o.add("%s", TypeText(binary.BigEndian.Uint16(b)))
		return nil
	},
}

const momentForm = "20060102150405"

// moment is a time of a signature (RFC 4034 section 3.2): YYYYMMDDHHmmSS, or seconds since 1970.
var moment = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		if len(word) == len(momentForm) {
			t, err := time.Parse(momentForm, word)
			if err != nil {
				return wrong("RFC 4034 section 3.2", "%q is no time YYYYMMDDHHmmSS", word)
			}
			w.putInteger(uint64(uint32(t.Unix())), 4) // modulo 2^32, as serials are compared
			return nil
		}
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return wrong("RFC 4034 section 3.2", "%q is no time YYYYMMDDHHmmSS", clip([]byte(word)))
		}
		w.putInteger(n, 4)
		return nil
	},
	print: func(o *octets) error {
		b, err := o.take(4)
		if err != nil {
			return err
		}
		// Until 2106 there is one reading that is sure to come back as it was.
		o.add("%s", time.Unix(int64(binary.BigEndian.Uint32(b)), 0).UTC().Format(momentForm))
		return nil
	},
}

// salt is NSEC3's salt, "-" for none (RFC 5155 section 3.3).
var salt = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		if word == "-" {
			word = ""
		}
		b, err := hex.DecodeString(word)
		if err != nil || len(b) > maxString {
			return wrong("RFC 5155 section 3.3", "%q is no salt in hexadecimal digits", clip([]byte(word)))
		}
		w.out = append(append(w.out, byte(len(b))), b...)
		return nil
	},
	print: func(o *octets) error {
		n, err := o.take(1)
		if err != nil {
			return err
		}
		b, err := o.take(int(n[0]))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			o.add("-")
			return nil
		}
		o.add("%x", b)
		return nil
	},
}

// hash32 is NSEC3's next owner in base32 with the extended hex alphabet (RFC 5155 section 3.3).
var hash32 = field{
	parse: func(w *words) error {
		word, err := w.word()
		if err != nil {
			return err
		}
		b, err := base32.HexEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(word))
		if err != nil || len(b) == 0 || len(b) > maxString {
			return wrong("RFC 5155 section 3.3", "%q is no hash in base32", clip([]byte(word)))
		}
		w.out = append(append(w.out, byte(len(b))), b...)
		return nil
	},
	print: func(o *octets) error {
		n, err := o.take(1)
		if err != nil || n[0] == 0 {
			return errShort
		}
		b, err := o.take(int(n[0]))
		if err != nil {
			return err
		}
		o.add("%s", base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
		return nil
	},
}
