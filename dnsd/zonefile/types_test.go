package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// typesZone returns the lines of testdata/types.zone: owner, type and data.
func typesZone(t *testing.T) [][3]string {
	t.Helper()
	text, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	var lines [][3]string
	for line := range strings.Lines(string(text)) {
		if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3); len(fields) == 3 && fields[0] != ";" {
			lines = append(lines, [3]string(fields))
		}
	}
	return lines
}

// TestTypes reads every type in its own form and in that of RFC 3597, both to the same octets, and
// writes them back as they were.
func TestTypes(t *testing.T) {
	have := map[uint16]bool{10: true, 100: true, 101: true, 102: true, 103: true} // no text of their own
	for _, line := range typesZone(t) {
		t.Run(line[0], func(t *testing.T) {
			own := one(t, line[0]+" "+line[1]+" "+line[2])
			have[own.Type] = true
			if got := DataText(own.Type, own.Data); got != strings.TrimSpace(line[2]) {
				t.Errorf("written as\n%s, want\n%s", got, line[2])
			}
			generic := fmt.Sprintf("x TYPE%d %s", own.Type, GenericText(own.Data))
			if again := one(t, generic); !bytes.Equal(again.Data, own.Data) {
				t.Errorf("%s is read as %x, want %x", generic, again.Data, own.Data)
			}
			if len(own.Data) > 0 && own.Type != 20 && own.Type != 42 && own.Type != 34 && line[0] != "ipn" && len(line[2]) > 1 {
				cut := fmt.Sprintf("x TYPE%d %s\n", own.Type, GenericText(own.Data[:1]))
				if _, err := NewReader(strings.NewReader(cut), Options{}).Next(); err == nil && !anyOctets(own.Type) {
					t.Errorf("%s is taken, want it refused: the data is cut short", cut)
				}
			}
		})
	}
	for _, n := range Types() {
		if !have[n] {
			t.Errorf("testdata/types.zone has no %s", TypeText(n))
		}
	}
	if len(Types()) < 80 {
		t.Errorf("%d types are known, want all of IANA's", len(Types()))
	}
}

// anyOctets reports whether one octet is well-formed data of a type.
func anyOctets(t uint16) bool {
	switch TypeText(t) {
	case "EID", "NIMLOC", "NSAP", "DHCID", "OPENPGPKEY", "HHIT", "BRID":
		return true
	}
	return false
}

// TestTypesAsTheLibrary compares the octets with the library's for the types that it knows.
func TestTypesAsTheLibrary(t *testing.T) {
	for _, line := range typesZone(t) {
		rr, err := dns.NewRR(line[0] + ".example. 3600 IN " + line[1] + " " + line[2])
		if err != nil || rr == nil {
			t.Logf("%s: the library says %v", line[1], err)
			continue
		}
		buf := make([]byte, 4096)
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Logf("%s: the library says %v", line[1], err)
			continue
		}
		data := buf[len(line[0])+1+9+10 : n]
		switch line[0] {
		case "isdn1", "nxt", "amtrelay": // the library adds an octet, writes NSEC's bitmap, loses the relay
			continue
		}
		if own := one(t, line[0]+" "+line[1]+" "+line[2]); !bytes.Equal(own.Data, data) {
			t.Errorf("%s %s is\n%x, the library's\n%x", line[1], line[2], own.Data, data)
		}
	}
}

// one reads a text of one record.
func one(t *testing.T, text string) Record {
	t.Helper()
	r := NewReader(strings.NewReader(text+"\n"), Options{})
	rec, err := r.Next()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: after it comes %v, want the end", text, err)
	}
	return rec
}
