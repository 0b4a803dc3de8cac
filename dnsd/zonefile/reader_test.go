package zonefile

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

// all reads a text below example. to its end: the records as text, and the faults.
func all(text string, o Options) (records, faults []string) {
	if o.Origin == "" {
		o.Origin = "\x07example\x00"
	}
	r := NewReader(strings.NewReader(text), o)
	defer r.Close()
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return records, faults
		case err != nil:
			faults = append(faults, err.Error())
		default:
			records = append(records, strings.ReplaceAll(rec.Text(), "\t", " "))
		}
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		name, text, want string // want: records, or a fault, one a line
	}{
		{"owner, TTL, class and type", "a 60 IN A 192.0.2.1", "a.example. 60 IN A 192.0.2.1"},
		{"class before TTL", "a IN 60 A 192.0.2.1", "a.example. 60 IN A 192.0.2.1"},
		{"owner of the record before", "a 60 A 192.0.2.1\n A 192.0.2.2", "a.example. 60 IN A 192.0.2.1\na.example. 60 IN A 192.0.2.2"},
		{"TTL of the record before", "a 60 A 192.0.2.1\nb A 192.0.2.2", "a.example. 60 IN A 192.0.2.1\nb.example. 60 IN A 192.0.2.2"},
		{"$TTL goes before it", "$TTL 1h\na 60 A 192.0.2.1\nb A 192.0.2.2", "a.example. 60 IN A 192.0.2.1\nb.example. 3600 IN A 192.0.2.2"},
		{"units", "a 1w2d3h4m5s A 192.0.2.1", "a.example. 788645 IN A 192.0.2.1"},
		{"a number after units", "a 1w2 A 192.0.2.1", "line 1: TTL \"1w2\": the last number has no unit (RFC 2308 section 4)"},
		{"the longest TTL", "a 2147483647 A 192.0.2.1", "a.example. 2147483647 IN A 192.0.2.1"},
		{"a longer one", "a 2147483648 A 192.0.2.1", "line 1: TTL 2147483648 is over 2147483647 (RFC 2181 section 8)"},
		{"far longer", "a 99999999999999999999 A 192.0.2.1", "line 1: TTL 99999999999999999999 is over 2147483647 (RFC 2181 section 8)"},
		{"$ORIGIN", "$ORIGIN b\na 1 A 192.0.2.1\n$ORIGIN c.\n@ 1 A 192.0.2.1", "a.b.example. 1 IN A 192.0.2.1\nc. 1 IN A 192.0.2.1"},
		{"parentheses and comments", "a 1 SOA b c ( ; one\n 1 2\n 3 4 5 ) ; two\nb 1 A 192.0.2.1", "a.example. 1 IN SOA b.example. c.example. 1 2 3 4 5\nb.example. 1 IN A 192.0.2.1"},
		{"an open parenthesis", "a 1 TXT ( b", "line 1: ( without its ) (RFC 1035 section 5.1)"},
		{"one too many", "a 1 TXT b )", "line 1: ) without its ( (RFC 1035 section 5.1)"},
		{"escapes", `a\.b\046c\097\\ 1 TXT "\"\\\000\255;("`, `a\.b\.ca\\.example. 1 IN TXT "\"\\\000\255;("`},
		{"an escape over 255", `a 1 TXT "\256"`, `line 1: bad TXT: \256: an escape is at most \255 (RFC 1035 section 5.1)`},
		{"an escape cut short", `a 1 TXT "\25"`, `line 1: bad TXT: "\\25": an escape has three digits (RFC 1035 section 5.1)`},
		{"the same in a name", `a\3 1 TXT x`, `line 1: "\\3": an escape has three digits (RFC 1035 section 5.1)`},
		{"a string without end", "a 1 TXT \"x\nb 1 TXT y", "b.example. 1 IN TXT \"y\"\nline 1: a string without its closing quote (RFC 1035 section 5.1)"},
		{"a string of 255", "a 1 TXT " + strings.Repeat("x", 255), "a.example. 1 IN TXT \"" + strings.Repeat("x", 255) + "\""},
		{"of 256", "a 1 TXT " + strings.Repeat("x", 256), "line 1: bad TXT: a string of 256 octets, and 255 are the most (RFC 1035 section 3.3)"},
		{"a control character", "a 1 TXT \"\x01\"", "line 1: control character 0x01; write it \\001 (RFC 1035 section 5.1)"},
		{"octets over 127", "a 1 TXT \"\xc3\xa4\"", `a.example. 1 IN TXT "\195\164"`},
		{"an empty label", "a..b 1 TXT x", `line 1: "a..b" has an empty label (RFC 1035 section 3.1)`},
		{"a label of 63", strings.Repeat("x", 63) + " 1 A 192.0.2.1", strings.Repeat("x", 63) + ".example. 1 IN A 192.0.2.1"},
		{"of 64", strings.Repeat("x", 64) + ". 1 A 192.0.2.1", `line 1: "` + strings.Repeat("x", 60) + `..." has a label of over 63 octets (RFC 1035 section 2.3.4)`},
		{"data left over", "a 1 A 192.0.2.1 192.0.2.2", `line 1: A: "192.0.2.2" is left over (RFC 1035 section 5.1)`},
		{"data missing", "a 1 MX 10", "line 1: bad MX: the data ends too early"},
		{"a class", "a 1 CH TXT x", "a.example. 1 CH TXT \"x\""},
		{"RFC 3597 for a known type", `a 1 TYPE1 \# 4 c0000201`, "a.example. 1 IN A 192.0.2.1"},
		{"the same by name", `a CLASS1 1 A \# 4 c000 0201`, "a.example. 1 IN A 192.0.2.1"},
		{"of the wrong length", `a 1 A \# 3 c00002`, `line 1: \#: these octets are no A: the data ends too early (RFC 3597 section 5)`},
		{"stated wrongly", `a 1 TYPE65400 \# 3 c000`, `line 1: \# 3 with 2 octets of data (RFC 3597 section 5)`},
		{"unknown type with words", "a 1 TYPE65400 x", `line 1: TYPE65400 has no text of its own; write \# length hexadecimal (RFC 3597 section 5)`},
		{"a type of messages", `a 1 NXNAME \# 0`, "line 1: type NXNAME cannot be stored (RFC 6895 section 3.1)"},
		{"no name", " 1 A 192.0.2.1", "line 1: no name, and no record before it to take one from (RFC 1035 section 5.1)"},
		{"after a fault goes on", "a 1 A x\nb 1 A 192.0.2.1", "b.example. 1 IN A 192.0.2.1\nline 1: bad A: \"x\" is no address of 4 octets"},
		{"$INCLUDE refused", "$INCLUDE x", "line 1: $INCLUDE is not taken here: put the text in its place (RFC 1035 section 5.1)"},
		{"unknown directive", "$FOO x", `line 1: "$FOO" is no directive: $ORIGIN, $TTL, $INCLUDE or $GENERATE (RFC 1035 section 5.1)`},
		{"$GENERATE", "$GENERATE 1-3/2 h$ 5 A 192.0.2.${10,0,d}", "h1.example. 5 IN A 192.0.2.11\nh3.example. 5 IN A 192.0.2.13"},
		{"its other bases", "$GENERATE 31-31 ${0,4,x}.${0,3,n} 5 CNAME $$", "001f.f.1.example. 5 IN CNAME \\$.example."},
		{"its range the wrong way", "$GENERATE 3-1 h$ A 192.0.2.1", `line 1: "3-1" is no range: ` + generateRule},
		{"CR LF", "a 1 A 192.0.2.1\r\n\r\nb 1 A 192.0.2.2\r\n", "a.example. 1 IN A 192.0.2.1\nb.example. 1 IN A 192.0.2.2"},
		{"svcb: a key twice", "a 1 SVCB 1 . port=1 port=2", "line 1: bad SVCB: port stands twice (RFC 9460 section 2.1)"},
		{"svcb: a number that has a name", `a 1 SVCB 1 . key3="\002\001"`, `a.example. 1 IN SVCB 1 . port=513`},
		{"svcb: the same with too little", `a 1 SVCB 1 . key3="\002"`, "line 1: bad SVCB: port: 02 is no value for it (RFC 9460 section 7)"},
		{"svcb: mandatory not there", "a 1 SVCB 1 . mandatory=port", "line 1: bad SVCB: mandatory lists port, which is not there, itself or stands twice (RFC 9460 section 8)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			records, faults := all(test.text, Options{})
			if got := strings.Join(append(records, faults...), "\n"); got != test.want {
				t.Errorf("read as\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestInclude reads a file within a file, with its own origin, and goes on behind it.
func TestInclude(t *testing.T) {
	files := map[string]string{"one": "x 1 A 192.0.2.1\n$ORIGIN elsewhere.\n", "loop": "$INCLUDE loop\n"}
	o := Options{File: "zone", Include: func(name, from string) (io.ReadCloser, string, error) {
		text, ok := files[name]
		if !ok {
			return nil, "", errors.New(name + " is not there")
		}
		return io.NopCloser(strings.NewReader(text)), from + "/" + name, nil
	}}
	records, faults := all("a 1 A 192.0.2.1\n$INCLUDE one sub\n A 192.0.2.2\n$INCLUDE two\n", o)
	want := "a.example. 1 IN A 192.0.2.1|x.sub.example. 1 IN A 192.0.2.1|a.example. 1 IN A 192.0.2.2"
	if got := strings.Join(records, "|"); got != want || len(faults) != 1 || faults[0] != "zone:4: $INCLUDE: two is not there (RFC 1035 section 5.1)" {
		t.Errorf("read as %s and %q, want %s and a fault in line 4", got, faults, want)
	}
	if _, faults = all("$INCLUDE loop\n", o); len(faults) != 1 || !strings.Contains(faults[0], "nested") {
		t.Errorf("a file that includes itself gives %q, want one fault", faults)
	}
}

// TestReaderKeepsNothing reads 64 MiB of deep names in memory that does not grow with them.
func TestReaderKeepsNothing(t *testing.T) {
	line := strings.Repeat("a.", 120) + " 1 A 192.0.2.1\n"
	r := NewReader(io.LimitReader(&repeated{text: line}, 64<<20/int64(len(line))*int64(len(line))), Options{Origin: "\x07example\x00"})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count, most := 0, uint64(0)
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if count++; count%50000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			most = max(most, after.HeapAlloc)
		}
	}
	if count < 250000 || most > before.HeapAlloc+4<<20 {
		t.Errorf("%d records, %d octets held at most, want at most 4 MiB more than %d", count, most, before.HeapAlloc)
	}
}

type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(b []byte) (int, error) {
	for n := range b {
		b[n] = r.text[r.at]
		r.at = (r.at + 1) % len(r.text)
	}
	return len(b), nil
}

// FuzzReader: what is read is written and read again to the same octets.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"$TTL 60\n@ MX 10 www\n", "a\\.b 1 TXT \"\\000\\255\" x\n", "x TYPE1234 \\# 1 ff\n", "$GENERATE 1-3 h$ A 192.0.2.$\n", "a 1 LOC 1 2 3.4 N 5 6 7 E 8m 9m\n",
		"a SVCB 1 . alpn=h2 key7=x mandatory=alpn\n", "a NSEC b A TYPE65000\n", "a APL 1:192.0.2.0/24\n", "a WKS 192.0.2.1 tcp 25\n", "a ( 1\n A 192.0.2.1 ; x\n)\n",
		"a NSEC3 1 0 0 - 00 A\n", "a HIP 2 20 q83vEjRWeJA= a.\n", "a IPSECKEY 10 3 2 a. q83vEjRWeJA=\n", "a AMTRELAY 1 1 1 1.2.3.4\n", "a CAA 0 issue \"x\"\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(strings.NewReader(text), Options{})
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				continue
			}
			if rec.Made > 10 {
				return
			}
			again, err := NewReader(strings.NewReader(rec.Text()+"\n"), Options{}).Next()
			if err != nil || again.Owner != rec.Owner || again.Type != rec.Type || string(again.Data) != string(rec.Data) || again.TTL != rec.TTL || again.Class != rec.Class {
				t.Fatalf("%q gives %s, which is read as %v, %v", text, rec.Text(), again, err)
			}
		}
	})
}
