package control_test

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/control"
)

// BenchmarkDocuments decodes accounts, one an operation, in each of the two common forms.
func BenchmarkDocuments(b *testing.B) {
	const together = 1000
	forms := []struct{ name, document string }{
		{"JSONLines", `{"kind":"Account","id":"a%d","name":"Customer","zone":"voice.example.net","group":"g1","numbers":["+33%09d"]}` + "\n"},
		{"YAML", "kind: Account\nid: a%d\nname: Customer\nzone: voice.example.net\ngroup: g1\nnumbers: [\"+33%09d\"]\n---\n"},
	}
	for i, form := range forms {
		var text strings.Builder
		for n := range together {
			fmt.Fprintf(&text, form.document, n, n)
		}
		b.Run(form.name, func(b *testing.B) {
			for n := 0; n < b.N; n += together {
				objects, _, faults := control.Documents([]byte(text.String()), 1+2*i)
				if len(objects) != together || len(faults) > 0 {
					b.Fatalf("%d objects, faults %v", len(objects), faults)
				}
			}
		})
	}
}
