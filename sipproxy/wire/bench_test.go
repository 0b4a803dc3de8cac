package wire_test

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/sipproxy/wire"
)

// BenchmarkParseAndWrite is the work of the general path on one message: parse it, write it again.
// The twin below is the same by sipgo, and the reason why its parser is not on this path.
func BenchmarkParseAndWrite(b *testing.B) {
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		m, fault := wire.Parse(plain)
		if fault != nil {
			b.Fatal(fault)
		}
		out = m.Append(out[:0])
	}
}

func BenchmarkSipgoParseAndWrite(b *testing.B) {
	b.ReportAllocs()
	parser := sip.NewParser()
	for b.Loop() {
		m, err := parser.ParseSIP([]byte(plain))
		if err != nil {
			b.Fatal(err)
		}
		_ = m.String()
	}
}
