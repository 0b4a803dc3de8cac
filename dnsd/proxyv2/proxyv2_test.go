package proxyv2

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// raw returns a header with this fourth word, addresses and TLVs, whose length fits.
func raw(command, family byte, rest ...byte) []byte {
	b := append([]byte(signature), command, family, 0, 0)
	binary.BigEndian.PutUint16(b[14:], uint16(len(rest)))
	return append(b, rest...)
}

func TestParse(t *testing.T) {
	four := []byte{192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 53}
	six := append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("::1").AsSlice()...), 0x30, 0x39, 0, 53)
	mapped := append(append(netip.MustParseAddr("::ffff:192.0.2.7").AsSlice(), netip.MustParseAddr("::ffff:127.0.0.1").AsSlice()...), 0x30, 0x39, 0, 53)
	with := func(b []byte, more ...byte) []byte { return append(append([]byte{}, b...), more...) }
	var many []byte
	for range mostTLVs + 1 {
		many = append(many, 4, 0, 0)
	}
	at4 := Header{Source: netip.MustParseAddrPort("192.0.2.7:12345"), Destination: netip.MustParseAddrPort("127.0.0.1:53")}
	at6 := Header{Source: netip.MustParseAddrPort("[2001:db8::7]:12345"), Destination: netip.MustParseAddrPort("[::1]:53")}
	spoiled := Append(nil, at4, false)
	spoiled[17] ^= 1
	tests := []struct {
		name string
		in   []byte
		want Header
		err  error
	}{
		{"IPv4 over UDP", raw(0x21, 0x12, four...), at4, nil},
		{"IPv4 over TCP", raw(0x21, 0x11, four...), at4, nil},
		{"IPv6", raw(0x21, 0x22, six...), at6, nil},
		{"IPv4 in IPv6", raw(0x21, 0x22, mapped...), at4, nil},
		{"with the data behind", with(raw(0x21, 0x12, four...), 1, 2, 3), at4, nil},
		{"with a TLV", raw(0x21, 0x12, with(four, 0xee, 0, 2, 7, 7)...), at4, nil},
		{"with a checksum", Append(nil, at4, false), at4, nil},
		{"local", raw(0x20, 0), Header{Local: true}, nil},
		{"local with what is to be ignored", raw(0x20, 0, 1, 2, 3, 4, 5), Header{Local: true}, nil},
		{"local with addresses", raw(0x20, 0x12, four...), Header{Local: true}, nil},
		{"nothing", nil, Header{}, ErrShort},
		{"half a signature", []byte(signature[:5]), Header{}, ErrShort},
		{"half an address", raw(0x21, 0x12, four...)[:20], Header{}, ErrShort},
		{"a query", []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, Header{}, ErrNone},
		{"version 1", []byte("PROXY TCP4 192.0.2.7 127.0.0.1 1 53\r\n"), Header{}, ErrNone},
		{"version 3", raw(0x31, 0x12, four...), Header{}, ErrVersion},
		{"an unknown command", raw(0x22, 0x12, four...), Header{}, ErrVersion},
		{"a client without a family", raw(0x21, 0), Header{}, ErrFamily},
		{"a client without a protocol", raw(0x21, 0x10, four...), Header{}, ErrFamily},
		{"a unix client", raw(0x21, 0x31, make([]byte, 216)...), Header{}, ErrFamily},
		{"an unknown family", raw(0x21, 0x42, four...), Header{}, ErrFamily},
		{"an unknown protocol", raw(0x21, 0x13, four...), Header{}, ErrFamily},
		{"addresses cut by the length", raw(0x21, 0x12, four[:11]...), Header{}, ErrFamily},
		{"IPv6 with IPv4's length", raw(0x21, 0x22, four...), Header{}, ErrFamily},
		{"a TLV that is longer than the header", raw(0x21, 0x12, with(four, 0xee, 0, 3, 7, 7)...), Header{}, ErrTLV},
		{"a TLV without a length", raw(0x21, 0x12, with(four, 0xee, 0)...), Header{}, ErrTLV},
		{"too many TLVs", raw(0x21, 0x12, with(four, many...)...), Header{}, ErrTLV},
		{"a checksum of three octets", raw(0x21, 0x12, with(four, typeCRC, 0, 3, 7, 7, 7)...), Header{}, ErrTLV},
		{"a wrong checksum", spoiled, Header{}, ErrChecksum},
		{"longer than any", raw(0x21, 0x12, make([]byte, MaxSize)...), Header{}, ErrLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, n, err := Parse(test.in)
			if h != test.want || !errors.Is(err, test.err) || (err == nil) != (n >= FixedSize) {
				t.Errorf("Parse = %+v, %d, %v, want %+v, %v", h, n, err, test.want, test.err)
			}
		})
	}
	if n := testing.AllocsPerRun(100, func() { Parse(spoiled) }); n != 0 {
		t.Errorf("Parse allocates %v times, want 0", n)
	}
}

// FuzzParse: a header that is taken lies within the octets, depends on nothing behind it and says the
// same when it is written anew.
func FuzzParse(f *testing.F) {
	at := Header{Source: netip.MustParseAddrPort("192.0.2.7:1"), Destination: netip.MustParseAddrPort("[::1]:53")}
	f.Add(Append(nil, at, true))
	f.Add(Append([]byte{}, Header{Local: true}, false))
	f.Add(raw(0x21, 0x12, 192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 53, 0xee, 0, 1, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			if h != (Header{}) || n != 0 {
				t.Fatalf("Parse = %+v, %d beside %v", h, n, err)
			}
			return
		}
		if n < FixedSize || n > len(b) || n > MaxSize {
			t.Fatalf("%d of %d octets taken", n, len(b))
		}
		if short, _, err := Parse(b[:n]); short != h || err != nil {
			t.Fatalf("alone: %+v, %v, want %+v", short, err, h)
		}
		if _, _, err := Parse(b[:n-1]); !errors.Is(err, ErrShort) {
			t.Fatalf("without its last octet: %v", err)
		}
		if !h.Local && (!h.Source.IsValid() || h.Source.Addr().Is4In6()) {
			t.Fatalf("source %v", h.Source)
		}
		anew := Append(nil, h, true)
		if again, n, err := Parse(anew); again != h || n != len(anew) || err != nil {
			t.Fatalf("written anew: %+v, %v, want %+v", again, err, h)
		}
	})
}
