package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/tandem"
)

// accountsOfAllKinds are what the quick reader takes, and what it leaves to the codec.
func accountsOfAllKinds() map[string]struct {
	account tandem.Account
	quick   bool
} {
	return map[string]struct {
		account tandem.Account
		quick   bool
	}{
		"common": {*account("a1"), true},
		"full": {tandem.Account{
			Head: head("a2"), Name: "Ünal \xff", Zone: "z", Realm: "r", Group: "g", Numbers: []string{"+1", "+2"}, TimeZone: "Europe/Berlin",
			Labels:    []tandem.Label{{Label: "x", Role: tandem.LabelCurrent}, {Label: "y"}, {Label: "z", Role: tandem.LabelRetired}},
			Registrar: tandem.RegistrarRemote,
		}, true},
		"empty":       {tandem.Account{Head: head("")}, true},
		"own times":   {tandem.Account{Head: head("a3"), TTL: tandem.TTL{SRV: 5}}, false},
		"own edges":   {tandem.Account{Head: head("a4"), Edges: []string{"e"}}, false},
		"own routes":  {tandem.Account{Head: head("a5"), Routes: map[tandem.RequestType][]string{"invite": {"x"}}}, false},
		"own targets": {tandem.Account{Head: head("a6"), Targets: map[string]tandem.TargetSpec{"x": {Cluster: "c"}}}, false},
	}
}

func TestAccountReader(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	r := new(accountReader)
	for name, tt := range accountsOfAllKinds() {
		t.Run(name, func(t *testing.T) {
			cbor, err := c.encode(&tt.account)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := r.read(cbor)
			if ok != tt.quick {
				t.Fatalf("read = %v, want %v", ok, tt.quick)
			}
			if ok {
				if diff := cmp.Diff(&tt.account, got); diff != "" {
					t.Error(diff)
				}
			}
			for n := range cbor {
				if _, ok := r.read(cbor[:n]); ok {
					t.Errorf("its first %d of %d octets are taken for an account", n, len(cbor))
				}
			}
		})
	}
}

// FuzzAccountReader: what the quick reader takes, the codec decodes to the same.
func FuzzAccountReader(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, tt := range accountsOfAllKinds() {
		cbor, err := c.encode(&tt.account)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(cbor)
	}
	r := new(accountReader)
	f.Fuzz(func(t *testing.T, cbor []byte) {
		got, ok := r.read(cbor)
		if !ok {
			return
		}
		want := new(tandem.Account)
		if err := c.dec.Unmarshal(cbor, want); err != nil {
			t.Fatalf("the codec refuses %x: %v", cbor, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%x: %s", cbor, diff)
		}
	})
}
