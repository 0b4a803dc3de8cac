package digest

import (
	"testing"

	"tandem/internal/tandem"
)

func BenchmarkVerify(b *testing.B) {
	for _, alg := range both {
		b.Run(string(alg), func(b *testing.B) {
			v := New(Config{Edge: "e1"}, ring{1: secret(1)}, start)
			header := []string{(&phone{user: "alice", password: "s3cret"}).answer(challenge(b, v, start), alg, "REGISTER", "sip:abc.voice.example.net")}
			ha1 := []byte(tandem.NewHA1("alice", realm, "s3cret", []tandem.DigestAlgorithm{alg}).Of(alg))
			b.ReportAllocs()
			for b.Loop() {
				c, _ := Find(header, realm, both)
				r := Request{Method: "REGISTER", URI: "sip:abc.voice.example.net", Realm: realm, HA1: ha1}
				if o := v.Verify(start, &c, &r); o != OK && o != Stale {
					b.Fatal(o)
				}
			}
		})
	}
}

func BenchmarkVerifyUnknown(b *testing.B) {
	v := New(Config{Edge: "e1"}, ring{1: secret(1)}, start)
	header := []string{(&phone{user: "nobody", password: "s3cret"}).answer(challenge(b, v, start), tandem.SHA256, "REGISTER", "sip:abc.voice.example.net")}
	b.ReportAllocs()
	for b.Loop() {
		c, _ := Find(header, realm, both)
		r := Request{Method: "REGISTER", URI: "sip:abc.voice.example.net", Realm: realm}
		if o := v.Verify(start, &c, &r); o != UnknownUser {
			b.Fatal(o)
		}
	}
}

func BenchmarkChallenges(b *testing.B) {
	v := New(Config{Edge: "e1"}, ring{1: secret(1)}, start)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Challenges(start, realm, both, false); err != nil {
			b.Fatal(err)
		}
	}
}
