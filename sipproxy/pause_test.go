package sipproxy

import (
	"net"
	"testing"
	"time"
)

// TestPause leaves what comes meanwhile in the kernel, and deals with it afterwards.
func TestPause(t *testing.T) {
	l := startLive(t, nil)
	phone, err := net.Dial("udp", l.udp.String())
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	ask := func() {
		t.Helper()
		if _, err := phone.Write([]byte(optionsFrom(phone.LocalAddr().String()))); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(within time.Duration) bool {
		phone.SetReadDeadline(time.Now().Add(within))
		n, err := phone.Read(make([]byte, 2000))
		return err == nil && n > 0
	}
	if ask(); !answered(5 * time.Second) {
		t.Fatal("no answer before the pause")
	}
	l.Pause()
	l.Pause() // once is enough
	if ask(); answered(100 * time.Millisecond) {
		t.Error("an answer during the pause")
	}
	l.Resume()
	if !answered(5 * time.Second) {
		t.Error("what came during the pause is not answered after it")
	}
	l.Pause() // Run ends all the same: startLive's cleanup waits for it
}

func optionsFrom(at string) string {
	return "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP " + at + ";branch=z9hG4bKpause;rport\r\n" +
		"Max-Forwards: 0\r\nFrom: <sip:x@" + at + ">;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: pause\r\nCSeq: 1 OPTIONS\r\n" +
		"Content-Length: 0\r\n\r\n"
}
