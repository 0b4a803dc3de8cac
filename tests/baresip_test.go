package tests

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// baresip is a running softphone. It knows tandem by one thing only: its name server.
type baresip struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	input io.WriteCloser
	ended chan struct{}
	mu    sync.Mutex
	lines []string
}

// Audio goes round in a bridge: there is no sound card to need.
const baresipConfig = `
sip_listen		%[1]s:5060
sip_trans_bsize		128
net_interface		%[1]s
call_local_timeout	120
call_max_calls		4
audio_player		aubridge,one
audio_source		aubridge,one
ausrc_srate		8000
auplay_srate		8000
ausrc_channels		1
auplay_channels		1
rtp_ports		10000-20000
dns_server		%[2]s:5300
module_path		%[3]s
module			stdio.so
module			g711.so
module			aubridge.so
module_tmp		uuid.so
module_tmp		account.so
module_app		menu.so
module_app		debug_cmd.so
`

// baresip starts a softphone at a host of the block with one account line.
func (s *server) baresip(host int, account string) *baresip {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "baresip-")
	if err != nil {
		s.t.Fatal(err)
	}
	modules := "/usr/lib/baresip/modules"
	for name, text := range map[string]string{
		"config":   fmt.Sprintf(baresipConfig, s.addr(host), s.addr(1), modules),
		"accounts": account + "\n",
		"contacts": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	b := &baresip{t: s.t, name: fmt.Sprintf("baresip at .%d", host), ended: make(chan struct{})}
	b.cmd = exec.Command("baresip", "-4", "-s", "-f", dir)
	b.cmd.Dir = dir
	if b.input, err = b.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	output, err := b.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	b.cmd.Stderr = b.cmd.Stdout
	if err := b.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go b.read(output)
	s.t.Cleanup(b.stop)
	return b
}

// read keeps what the softphone prints.
func (b *baresip) read(output io.Reader) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		b.mu.Lock()
		b.lines = append(b.lines, lines.Text())
		b.mu.Unlock()
	}
	b.cmd.Wait()
	close(b.ended)
}

// output returns everything printed so far.
func (b *baresip) output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// command types a line.
func (b *baresip) command(line string) {
	b.t.Helper()
	if _, err := io.WriteString(b.input, line+"\n"); err != nil {
		b.t.Fatal(err)
	}
}

// prints waits until text was printed.
func (b *baresip) prints(within time.Duration, text string) {
	b.t.Helper()
	eventually(b.t, within, b.name+" prints "+text, func() bool { return strings.Contains(b.output(), text) })
}

func (b *baresip) stop() {
	b.cmd.Process.Kill()
	<-b.ended
	if b.t.Failed() {
		b.t.Logf("%s printed:\n%s", b.name, tail(b.output(), 150))
	}
}

// isListening reports whether something takes TCP connections at an address.
func isListening(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
