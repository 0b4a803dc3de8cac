package zonefile

import (
	"slices"
	"strconv"
	"strings"
)

// Types that have a meaning here and elsewhere in the product's checks.
const (
	TypeA          = 1
	TypeNS         = 2
	TypeCNAME      = 5
	TypeSOA        = 6
	TypePTR        = 12
	TypeMX         = 15
	TypeTXT        = 16
	TypeAAAA       = 28
	TypeSRV        = 33
	TypeNAPTR      = 35
	TypeDNAME      = 39
	TypeDS         = 43
	TypeRRSIG      = 46
	TypeNSEC       = 47
	TypeDNSKEY     = 48
	TypeNSEC3      = 50
	TypeNSEC3PARAM = 51
	TypeCDS        = 59
	TypeCDNSKEY    = 60
	TypeZONEMD     = 63
	TypeSVCB       = 64
	TypeHTTPS      = 65
	TypeSPF        = 99
	TypeCAA        = 257
)

// typeName is a type of the IANA registry.
type typeName struct {
	number uint16
	name   string
}

// names are the types that records in a zone can have, by number.
var names = []typeName{
	{1, "A"},
	{2, "NS"},
	{3, "MD"},
	{4, "MF"},
	{5, "CNAME"},
	{6, "SOA"},
	{7, "MB"},
	{8, "MG"},
	{9, "MR"},
	{10, "NULL"},
	{11, "WKS"},
	{12, "PTR"},
	{13, "HINFO"},
	{14, "MINFO"},
	{15, "MX"},
	{16, "TXT"},
	{17, "RP"},
	{18, "AFSDB"},
	{19, "X25"},
	{20, "ISDN"},
	{21, "RT"},
	{22, "NSAP"},
	{23, "NSAP-PTR"},
	{24, "SIG"},
	{25, "KEY"},
	{26, "PX"},
	{27, "GPOS"},
	{28, "AAAA"},
	{29, "LOC"},
	{30, "NXT"},
	{31, "EID"},
	{32, "NIMLOC"},
	{33, "SRV"},
	{34, "ATMA"},
	{35, "NAPTR"},
	{36, "KX"},
	{37, "CERT"},
	{38, "A6"},
	{39, "DNAME"},
	{40, "SINK"},
	{42, "APL"},
	{43, "DS"},
	{44, "SSHFP"},
	{45, "IPSECKEY"},
	{46, "RRSIG"},
	{47, "NSEC"},
	{48, "DNSKEY"},
	{49, "DHCID"},
	{50, "NSEC3"},
	{51, "NSEC3PARAM"},
	{52, "TLSA"},
	{53, "SMIMEA"},
	{55, "HIP"},
	{56, "NINFO"},
	{57, "RKEY"},
	{58, "TALINK"},
	{59, "CDS"},
	{60, "CDNSKEY"},
	{61, "OPENPGPKEY"},
	{62, "CSYNC"},
	{63, "ZONEMD"},
	{64, "SVCB"},
	{65, "HTTPS"},
	{66, "DSYNC"},
	{67, "HHIT"},
	{68, "BRID"},
	{99, "SPF"},
	{100, "UINFO"},
	{101, "UID"},
	{102, "GID"},
	{103, "UNSPEC"},
	{104, "NID"},
	{105, "L32"},
	{106, "L64"},
	{107, "LP"},
	{108, "EUI48"},
	{109, "EUI64"},
	{256, "URI"},
	{257, "CAA"},
	{258, "AVC"},
	{259, "DOA"},
	{260, "AMTRELAY"},
	{261, "RESINFO"},
	{262, "WALLET"},
	{263, "CLA"},
	{264, "IPN"},
	{32768, "TA"},
	{32769, "DLV"},
}

// field reads one field of RDATA from text, and writes it as text.
type field struct {
	parse func(*words) error
	print func(*octets) error
}

// layouts are the fields of RDATA, in their order. A type that is missing has no text of its own, but
// that of RFC 3597.
var layouts = map[uint16][]field{
	1:     {address4},                                             // A
	2:     {name},                                                 // NS
	3:     {name},                                                 // MD
	4:     {name},                                                 // MF
	5:     {name},                                                 // CNAME
	6:     {name, name, number32, period, period, period, period}, // SOA
	7:     {name},                                                 // MB
	8:     {name},                                                 // MG
	9:     {name},                                                 // MR
	11:    {address4, services},                                   // WKS
	12:    {name},                                                 // PTR
	13:    {text, text},                                           // HINFO
	14:    {name, name},                                           // MINFO
	15:    {number16, name},                                       // MX
	16:    {texts},                                                // TXT
	17:    {name, name},                                           // RP
	18:    {number16, name},                                       // AFSDB
	19:    {text},                                                 // X25
	20:    {text, textMaybe},                                      // ISDN
	21:    {number16, name},                                       // RT
	22:    {nsap},                                                 // NSAP
	23:    {name},                                                 // NSAP-PTR
	24:    signature,                                              // SIG
	25:    {number16, number8, algorithm, base64Rest},             // KEY
	26:    {number16, name, name},                                 // PX
	27:    {text, text, text},                                     // GPOS
	28:    {address6},                                             // AAAA
	29:    {location},                                             // LOC
	30:    {name, oldBitmap},                                      // NXT
	31:    {hexRest},                                              // EID
	32:    {hexRest},                                              // NIMLOC
	33:    {number16, number16, number16, name},                   // SRV
	34:    {atmAddress},                                           // ATMA
	35:    {number16, number16, text, text, text, name},           // NAPTR
	36:    {number16, name},                                       // KX
	37:    {certificate, number16, algorithm, base64Rest},         // CERT
	38:    {address6Chain},                                        // A6
	39:    {name},                                                 // DNAME
	40:    {number8, number8, number8, base64Maybe},               // SINK
	42:    {prefixes},                                             // APL
	43:    {number16, algorithm, number8, hexRest},                // DS
	44:    {number8, number8, hexRest},                            // SSHFP
	45:    {ipsecKey},                                             // IPSECKEY
	46:    signature,                                              // RRSIG
	47:    {name, bitmap},                                         // NSEC
	48:    {number16, number8, algorithm, base64Maybe},            // DNSKEY
	49:    {base64Rest},                                           // DHCID
	50:    {number8, number8, number16, salt, hash32, bitmap},     // NSEC3
	51:    {number8, number8, number16, salt},                     // NSEC3PARAM
	52:    {number8, number8, number8, hexRest},                   // TLSA
	53:    {number8, number8, number8, hexRest},                   // SMIMEA
	55:    {hostIdentity},                                         // HIP
	56:    {texts},                                                // NINFO
	57:    {number16, number8, algorithm, base64Rest},             // RKEY
	58:    {name, name},                                           // TALINK
	59:    {number16, algorithm, number8, hexRest},                // CDS
	60:    {number16, number8, algorithm, base64Rest},             // CDNSKEY
	61:    {base64Rest},                                           // OPENPGPKEY
	62:    {number32, number16, bitmap},                           // CSYNC
	63:    {number32, number8, number8, hexRest},                  // ZONEMD
	64:    {number16, name, parameters},                           // SVCB
	65:    {number16, name, parameters},                           // HTTPS
	66:    {rrtype, dsyncScheme, number16, name},                  // DSYNC
	67:    {base64Rest},                                           // HHIT
	68:    {base64Rest},                                           // BRID
	99:    {texts},                                                // SPF
	104:   {number16, locator64},                                  // NID
	105:   {number16, address4},                                   // L32
	106:   {number16, locator64},                                  // L64
	107:   {number16, name},                                       // LP
	108:   {eui48},                                                // EUI48
	109:   {eui64},                                                // EUI64
	256:   {number16, number16, target},                           // URI
	257:   {number8, tag, target},                                 // CAA
	258:   {texts},                                                // AVC
	259:   {number32, number32, number8, text, base64Dash},        // DOA
	260:   {amtRelay},                                             // AMTRELAY
	261:   {texts},                                                // RESINFO
	262:   {texts},                                                // WALLET
	263:   {texts},                                                // CLA
	264:   {number64},                                             // IPN
	32768: {number16, algorithm, number8, hexRest},                // TA
	32769: {number16, algorithm, number8, hexRest},                // DLV
}

// signature is the data of SIG and RRSIG.
var signature = []field{rrtype, algorithm, number8, number32, moment, moment, number16, name, base64Rest}

// metaNames are the types that exist in questions and messages only (RFC 6895 section 3.1).
var metaNames = []typeName{
	{41, "OPT"}, {128, "NXNAME"}, {249, "TKEY"}, {250, "TSIG"}, {251, "IXFR"}, {252, "AXFR"}, {253, "MAILB"}, {254, "MAILA"}, {255, "ANY"},
}

// byName are the numbers of all types by their names in capitals.
var byName = func() map[string]uint16 {
	all := map[string]uint16{"*": 255}
	for _, f := range slices.Concat(names, metaNames) {
		all[f.name] = f.number
	}
	return all
}()

// byNumber are the names of all types.
var byNumber = func() map[uint16]string {
	all := map[uint16]string{}
	for _, f := range slices.Concat(names, metaNames) {
		all[f.number] = f.name
	}
	return all
}()

// IsMeta reports whether a type exists in questions and messages only (RFC 6895 section 3.1).
func IsMeta(t uint16) bool { return t == 0 || t == 41 || t >= 128 && t <= 255 }

// Types returns the numbers of all types that records in a zone can have and that have a name.
func Types() []uint16 {
	var numbers []uint16
	for _, f := range names {
		numbers = append(numbers, f.number)
	}
	return numbers
}

// TypeText returns a type's name, TYPEnnn when it has none (RFC 3597 section 5).
func TypeText(t uint16) string {
	if name, ok := byNumber[t]; ok {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// ParseType returns the number of a type's name, or of TYPEnnn, in letters of either case.
func ParseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	if n, ok := byName[upper]; ok {
		return n, nil
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil && digits[0] != '+' {
			return uint16(n), nil
		}
	}
	return 0, wrong("RFC 3597 section 5", "%q is no type", clip([]byte(text)))
}
