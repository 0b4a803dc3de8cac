package control

import "testing"

func TestShrinks(t *testing.T) {
	tests := []struct {
		name          string
		before, after int
		want          bool
	}{
		{"half is left", 20, 10, false},
		{"less than half", 20, 9, true},
		{"a small zone", 19, 0, false},
		{"all gone", 20, 0, true},
		{"it grows", 20, 40, false},
		{"many", 1000000, 499999, true},
	}
	for _, test := range tests {
		if got := shrinks(test.before, test.after); got != test.want {
			t.Errorf("%s: shrinks(%d, %d) = %t, want %t", test.name, test.before, test.after, got, test.want)
		}
	}
}
