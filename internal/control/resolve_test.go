package control_test

import (
	"strings"
	"testing"

	"tandem/internal/tandem"
)

// TestDeviceSecrets follows one device through updates, each applied to what the one before left.
func TestDeviceSecrets(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	const realm = "tandem-a1"
	all := []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5}
	ha1 := func(user, secret string) tandem.HA1 { return tandem.NewHA1(user, realm, secret, all) }
	imported := tandem.HA1{MD5: ha1("ada", "imported").MD5}
	const head = "kind: Device\nid: d9\naccount: a1\n"
	cases := []struct {
		name, document string
		want           tandem.HA1
		sealed         string
		version        uint32
		action         string
		refused        string
	}{
		{"given at creation", "username: ada\nsecret: first", ha1("ada", "first"), "first", 1, "created", ""},
		{"repeated", "username: ada\nsecret: first", ha1("ada", "first"), "first", 1, "unchanged", ""},
		{"left out", "username: ada", ha1("ada", "first"), "first", 1, "unchanged", ""},
		{"left out of a change", "username: ada\nmodel: x", ha1("ada", "first"), "first", 1, "changed", ""},
		{"another user name", "username: bea", ha1("bea", "first"), "first", 1, "changed", ""},
		{"another user name, secret repeated", "username: ada\nsecret: first", ha1("ada", "first"), "first", 1, "changed", ""},
		{"a version is read-only", "username: ada\nsecretVersion: 77", ha1("ada", "first"), "first", 1, "unchanged", ""},
		{"another secret", "username: ada\nsecret: second", ha1("ada", "second"), "second", 2, "changed", ""},
		{"hashes of another one", "username: ada\nha1: {md5: " + imported.MD5 + "}", imported, "", 3, "changed", ""},
		{"the same hashes", "username: ada\nha1: {md5: " + imported.MD5 + "}", imported, "", 3, "unchanged", ""},
		{"hashes left out", "username: ada", imported, "", 3, "unchanged", ""},
		{"hashes cover the user name", "username: bea", imported, "", 3, "", "f:4: username: cannot change without a new secret or ha1"},
		{"hashes cover the realm", "username: ada\naccount: b1", imported, "", 3, "", "f:5: account: cannot change without a new secret or ha1"},
		{"the secret of the hashes", "username: ada\nsecret: imported", ha1("ada", "imported"), "imported", 3, "changed", ""},
		{"its own hashes", "username: ada\nha1: {md5: " + imported.MD5 + "}", imported, "", 4, "changed", ""},
	}
	for _, tc := range cases {
		document := head + tc.document
		if strings.Contains(tc.document, "account:") {
			document = strings.Replace(document, "account: a1\n", "", 1)
			tc.refused = strings.Replace(tc.refused, "f:5", "f:4", 1)
		}
		result, err := c.Apply(t.Context(), "f", strings.NewReader(document), nil)
		if tc.refused != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tc.refused) {
				t.Errorf("%s: Apply = %v, want %s", tc.name, err, tc.refused)
			}
		} else if err != nil {
			t.Errorf("%s: Apply = %v", tc.name, err)
			continue
		}
		action := map[[3]int]string{{1, 0, 0}: "created", {0, 1, 0}: "changed", {0, 0, 1}: "unchanged"}[[3]int{result.Created, result.Changed, result.Unchanged}]
		if action != tc.action {
			t.Errorf("%s: %q, want %q", tc.name, action, tc.action)
		}
		d := m.objects[tandem.KindDevice]["d9"].(*tandem.Device)
		sealed := strings.TrimPrefix(string(d.Sealed), "sealed for device/d9: ")
		if d.HA1 != tc.want || sealed != tc.sealed || d.SecretVersion != tc.version {
			t.Errorf("%s: %+v sealed %q version %d, want %+v %q %d", tc.name, d.HA1, sealed, d.SecretVersion, tc.want, tc.sealed, tc.version)
		}
	}
}

func TestMadeSecret(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	apply(t, c, telco)
	d := m.objects[tandem.KindDevice]["d2"].(*tandem.Device)
	secret := strings.TrimPrefix(string(d.Sealed), "sealed for device/d2: ")
	if len(secret) < 20 || d.HA1 != tandem.NewHA1("phone-2", "tandem-b1", secret, []tandem.DigestAlgorithm{tandem.SHA512_256, tandem.SHA256, tandem.MD5}) {
		t.Errorf("a device without a secret got %q and %+v", secret, d.HA1)
	}
}

// TestDigestChange changes which digest algorithms an account offers: hashes that are wanted now must
// be there before they are offered, those of the other account stay.
func TestDigestChange(t *testing.T) {
	m := newMemory()
	c := start(t, m, nil)
	device := func(id string) *tandem.Device { return m.objects[tandem.KindDevice][id].(*tandem.Device) }
	account := func(digest string) string {
		return "kind: Account\nid: a1\nzone: voice.example.net\ngroup: g1\nnumbers: [+15550100]\ndigest: [" + digest + "]\n"
	}
	apply(t, c, telco)
	other := *device("d2")
	imported := "kind: Device\nid: d3\naccount: a1\nusername: x\nha1: {sha256: " + strings.Repeat("0", 64) + "}"
	apply(t, c, imported)
	if r := apply(t, c, account("SHA-256")); r.Changed != 1 {
		t.Errorf("Apply = %+v, want one document changed", r)
	}
	if got := device("d1").HA1; got.MD5 != "" || got.SHA256 == "" {
		t.Errorf("without MD5: %+v", got)
	}
	apply(t, c, account("MD5"))
	if got := device("d1"); got.HA1.MD5 != tandem.NewHA1("phone-1", "tandem-a1", "hunter2-hunter2", []tandem.DigestAlgorithm{tandem.MD5}).MD5 || got.SecretVersion != 1 {
		t.Errorf("with MD5 again: %+v", got)
	}
	if got := device("d3").HA1; got.SHA256 != strings.Repeat("0", 64) || got.MD5 != "" {
		t.Errorf("imported hashes became %+v", got)
	}
	if got := device("d2"); got.Revision != other.Revision {
		t.Error("another account's device was touched")
	}
}
