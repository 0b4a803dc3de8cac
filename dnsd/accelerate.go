package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dnsd/xdp"
	"tandem/internal/tandem"
)

// How questions come to be answered by XDP (dnsd/xdp): a worker that has answered the same common
// question twice within a short while hands it to the accelerator, which has the fast path answer it
// once more and keeps that in the kernel. Only what everybody is told qualifies: positive answers of
// the fast path, without options, from zones that answer everyone.

// xdpMode says where XDP is to answer.
type xdpMode string

const (
	xdpOff     xdpMode = "off"
	xdpAuto    xdpMode = "auto" // native, else generic
	xdpGeneric xdpMode = "generic"
	xdpNative  xdpMode = "native"
)

// fault reports a mode that is none.
func (m xdpMode) fault(errs tandem.FieldErrors) tandem.FieldErrors {
	switch m {
	case "", xdpOff, xdpAuto, xdpGeneric, xdpNative:
		return errs
	}
	return append(errs, tandem.FieldError{Field: "xdp", Reason: fmt.Sprintf("%q is not off, auto, generic or native", string(m))})
}

const (
	askedMost    = 128                    // octets of a question that is handed over
	askedWaiting = 1024                   // questions that wait to be kept; more are forgotten, and may come again
	readdress    = 5 * time.Second        // how often a machine's own addresses are looked at
	reattach     = 100 * time.Millisecond // how often a device is tried that has another program
	reattachSoon = 10 * time.Second       // longer than the process before needs to take its own away
)

// asked is a question as it was asked.
type asked struct {
	octets [askedMost]byte
	size   int
}

// accelerator keeps answers in the kernel. Nil does nothing.
type accelerator struct {
	model  *model
	log    *slog.Logger
	kernel *xdp.Responder
	asked  chan asked

	listening map[netip.AddrPort]bool
	mode      xdpMode
	waiting   []string // devices that have another program, such as that of the process before

	kept, forgotten, failed atomic.Uint64
}

// accelerate loads and attaches the program as the configuration says. When that cannot be done it
// says so once, and all is answered by sockets.
func (s *Server) accelerate() {
	if s.cfg.XDP == "" || s.cfg.XDP == xdpOff {
		return
	}
	a := &accelerator{model: s.model, log: s.log, asked: make(chan asked, askedWaiting), listening: map[netip.AddrPort]bool{}, mode: s.cfg.XDP}
	how, err := a.start(s.cfg, s.Addrs())
	if err != nil {
		s.log.Warn("no XDP: every question is answered over sockets", "mode", string(s.cfg.XDP), "err", err)
		return
	}
	a.tell(how)
	s.applying.Lock()
	defer s.applying.Unlock()
	s.accelerator, s.writer.accelerator = a, a
}

// start loads the program and returns where it is attached, and how.
func (a *accelerator) start(cfg Config, addrs []netip.AddrPort) (how []string, err error) {
	devices, err := devicesOf(cfg.XDPDevices, addrs)
	if err != nil {
		return nil, err
	}
	if a.kernel, err = xdp.Open(xdpLimit(cfg.RateLimit)); err != nil {
		return nil, err
	}
	if how, a.waiting, err = a.attachAll(devices); err != nil {
		return nil, errors.Join(err, a.kernel.Close())
	}
	a.listen(addrs)
	return how, nil
}

// attachAll attaches the program to devices and returns where, and how, and those that have another one.
func (a *accelerator) attachAll(devices []string) (how, occupied []string, err error) {
	for _, d := range devices {
		mode, err := a.attach(d, a.mode)
		switch {
		case errors.Is(err, xdp.ErrOccupied):
			occupied = append(occupied, d)
		case err != nil:
			return how, nil, err
		default:
			how = append(how, d+" "+string(mode))
		}
	}
	return how, occupied, nil
}

// tell logs where the program is attached.
func (a *accelerator) tell(how []string) {
	if len(how) > 0 {
		a.log.Info("common questions are answered by XDP", "devices", how)
	}
}

// attachWaiting attaches the program to devices as they become free, until ctx ends or none waits. The
// process before detaches its own when it reads no more.
func (a *accelerator) attachWaiting(ctx context.Context, devices []string) {
	if len(devices) == 0 {
		return
	}
	late := time.AfterFunc(reattachSoon, func() {
		a.log.Warn("no XDP while another program is attached: questions are answered over sockets", "devices", a.waiting)
	})
	defer late.Stop()
	tick := time.NewTicker(reattach)
	defer tick.Stop()
	for len(devices) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		how, occupied, err := a.attachAll(devices)
		a.tell(how)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			a.log.Warn("no XDP where another program was attached", "devices", devices, "err", err)
			return
		}
		devices = occupied
	}
}

// attach attaches the program to a device in the way that mode says, and returns the way taken. A
// virtual device takes the program into its driver and then may lose what it sends back, so auto does that
// with a network card only.
func (a *accelerator) attach(device string, mode xdpMode) (xdpMode, error) {
	_, virtual := os.Stat(filepath.Join("/sys/class/net", device, "device"))
	if mode == xdpNative || mode == xdpAuto && virtual == nil {
		err := a.kernel.Attach(device, true)
		if err == nil || mode == xdpNative || errors.Is(err, xdp.ErrOccupied) {
			return xdpNative, err
		}
	}
	return xdpGeneric, a.kernel.Attach(device, false)
}

// xdpLimit is the octet budget and the rate of package guard for the kernel's part. Each has its own
// allowance, so the kernel's is half.
func xdpLimit(c RateLimit) xdp.Limit {
	if c.Off || c.DryRun {
		return xdp.Limit{}
	}
	exempt := c.Exempt
	if exempt == nil {
		exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return xdp.Limit{Factor: 2.25, Refill: 64, Most: 1024, Rate: c.AnswersPerSecond, Exempt: exempt}
}

// devicesOf returns the devices to attach to: the named ones, or those that are up and have one of
// the addresses listened at.
func devicesOf(named []string, addrs []netip.AddrPort) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var devices []string
	for _, d := range all {
		if d.Flags&net.FlagUp == 0 || d.Flags&net.FlagLoopback != 0 {
			continue
		}
		own, err := d.Addrs()
		if err == nil && slices.ContainsFunc(own, func(have net.Addr) bool { return listensAt(addrs, have) }) {
			devices = append(devices, d.Name)
		}
	}
	if len(devices) == 0 {
		return nil, errors.New("no network device but loopback has an address of dns.listen; name some in dns.xdpDevices")
	}
	return devices, nil
}

// listensAt reports whether addrs take what comes to a device's address.
func listensAt(addrs []netip.AddrPort, have net.Addr) bool {
	p, err := netip.ParsePrefix(have.String())
	return err == nil && slices.ContainsFunc(addrs, func(a netip.AddrPort) bool {
		return a.Addr() == p.Addr() || a.Addr().IsUnspecified() && a.Addr().Is4() == p.Addr().Is4()
	})
}

// listen tells the kernel at which addresses to answer: those given, or, for the unspecified one,
// those that the machine has now.
func (a *accelerator) listen(addrs []netip.AddrPort) {
	now := map[netip.AddrPort]bool{}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return // the next look may succeed
	}
	for _, at := range addrs {
		if !at.Addr().IsUnspecified() {
			now[at] = true
			continue
		}
		for _, have := range own {
			if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr().Is4() == at.Addr().Is4() && !p.Addr().IsLoopback() {
				now[netip.AddrPortFrom(p.Addr(), at.Port())] = true
			}
		}
	}
	for at := range now {
		if !a.listening[at] && a.kernel.Listen(at) == nil {
			a.listening[at] = true
		}
	}
	for at := range a.listening {
		if !now[at] && a.kernel.Unlisten(at) == nil {
			delete(a.listening, at)
		}
	}
}

// end detaches the program: XDP answers nothing any more.
func (a *accelerator) end() {
	if a != nil {
		a.kernel.Close()
	}
}

// run keeps what workers hand over until ctx ends.
func (a *accelerator) run(ctx context.Context, addrs []netip.AddrPort) {
	var attaching sync.WaitGroup
	defer attaching.Wait()
	attaching.Go(func() { a.attachWaiting(ctx, a.waiting) })
	tick := time.NewTicker(readdress)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.end()
			return
		case <-tick.C:
			a.listen(addrs)
		case q := <-a.asked:
			a.keep(&q)
		}
	}
}

// keep has the fast path answer q, as everybody is answered, and puts the answer into the kernel.
func (a *accelerator) keep(q *asked) {
	in := q.octets[:q.size]
	in[0], in[1], in[2] = 0, 0, 0
	var read ask
	if !read.read(in, false) || read.count == 0 || !isPlain(in, headerSize+read.size+4) {
		return
	}
	z, at := a.model.zoneOfAsk(&read)
	if z == nil || at == 0 || a.model.views.Load() != nil || z.role != tandem.RoleAccounts || len(z.networks) > 0 {
		return
	}
	nameEnd := headerSize + read.size
	copy(in[headerSize:nameEnd], read.name[:read.size]) // in lower case
	mark := a.kernel.Mark(a.model.labelHash(z, read.label(at-1)))
	var out [datagramSize]byte
	n := a.model.fast(in, out[:], client{addr: netip.IPv6Unspecified()})
	if !isCommon(in, out[:n]) || !xdp.Fits(nameEnd, n) {
		return
	}
	if err := a.kernel.Put(out[:n], nameEnd, read.edns, mark); err != nil {
		a.failed.Add(1)
		return
	}
	a.kept.Add(1)
}

// isPlain reports whether in, whose question ends at offset end, has no OPT record or one without options and
// flags, as the kernel asks for: what others get may not show what one client asked for.
func isPlain(in []byte, end int) bool {
	return len(in) == end || len(in) == end+optSize && in[end+7]|in[end+8] == 0
}

// isCommon reports whether answer, to in, may be one that the kernel can give: whole, positive, and
// without authority.
func isCommon(in, answer []byte) bool {
	return len(in) <= askedMost && len(answer) > headerSize && in[2]&^flagRD == 0 && in[5] == 1 &&
		answer[2]&^flagRD == flagQR|flagAA && answer[3] == 0 && answer[6]|answer[7] != 0 && answer[8]|answer[9] == 0
}

// labelHash returns the hash that stands for an account's label in z.
func (m *model) labelHash(z *zone, label []byte) uint32 {
	var buf [80]byte
	return m.inbound.hash(labelKey(buf[:0], z.number, label))
}

// changed makes worthless what the kernel has and a change of this kind may touch. It is called when
// the change is in the model.
func (a *accelerator) changed(k tandem.Kind) {
	if a == nil {
		return
	}
	switch k { // an account's labels are named one by one, and all else does not show in inbound names
	case tandem.KindZone, tandem.KindEdge, tandem.KindRecordSet, tandem.KindView:
		a.kernel.ChangedAll()
	}
}

// changedLabels makes worthless what the kernel has of the names with these hashes, as rows of
// accounts keep them.
func (a *accelerator) changedLabels(hashes []byte) {
	if a == nil {
		return
	}
	for ; len(hashes) >= 4; hashes = hashes[4:] {
		a.kernel.Changed(binary.BigEndian.Uint32(hashes))
	}
}

// sightings is one worker's memory of common questions: the hash of one for each place.
type sightings struct {
	seed maphash.Seed
	seen [1 << 14]uint32
}

// sightings returns a memory for one worker, nil without XDP.
func (a *accelerator) sightings() *sightings {
	if a == nil {
		return nil
	}
	return &sightings{seed: maphash.MakeSeed()}
}

// sight hands a question to the accelerator when it was asked a short while ago, too.
func (a *accelerator) sight(s *sightings, in, answer []byte) {
	if !isCommon(in, answer) {
		return
	}
	h := s.hash(in)
	place := &s.seen[h%uint32(len(s.seen))]
	if *place != h {
		*place = h
		return
	}
	*place = 0
	q := asked{size: len(in)}
	copy(q.octets[:], in)
	select {
	case a.asked <- q:
	default:
		a.forgotten.Add(1)
	}
}

// hash returns the hash of a question in any case of letters. Questions that differ otherwise may be
// taken for one another, which does no harm.
func (s *sightings) hash(in []byte) uint32 {
	var folded [askedMost]byte
	n := copy(folded[:], in[headerSize:])
	for at := 0; at < n; at += 8 {
		word := folded[at : at+8]
		binary.NativeEndian.PutUint64(word, binary.NativeEndian.Uint64(word)|0x2020202020202020)
	}
	return uint32(maphash.Bytes(s.seed, folded[:n]))
}

// counters returns what the kernel answered as if a worker had, and how else it fared. Without
// an accelerator all is zero.
func (a *accelerator) counters() (*counters, xdp.Stats) {
	c := new(counters)
	if a == nil {
		return c, xdp.Stats{}
	}
	s, err := a.kernel.Stats()
	if err != nil {
		return c, s // closed
	}
	c.udp.Store(s.Answered)
	c.fast.Store(s.Answered)
	c.rcodes[0].Store(s.Answered)
	c.marks[withEDNS].Store(s.WithEDNS)
	for kind, n := range map[int]uint64{kindA: s.A, kindAAAA: s.AAAA, kindNAPTR: s.NAPTR, kindSRV: s.SRV, kindHTTPS: s.HTTPS, kindOther: s.Other} {
		c.kinds[kind].Store(n)
	}
	return c, s
}

// metrics hands the accelerator's own readings to emit.
func (a *accelerator) metrics(stats xdp.Stats, emit func(tandem.Sample)) {
	if a == nil {
		return
	}
	for _, v := range []struct {
		name, help string
		value      uint64
	}{
		{"tandem_dnsd_xdp_answers_total", "Answers given by XDP. They are counted in the other metrics too.", stats.Answered},
		{"tandem_dnsd_xdp_octets_in_total", "Octets of the queries that XDP answered.", stats.OctetsIn},
		{"tandem_dnsd_xdp_octets_out_total", "Octets of the answers that XDP gave.", stats.OctetsOut},
		{"tandem_dnsd_xdp_absent_total", "Common queries that XDP had no answer for.", stats.Absent},
		{"tandem_dnsd_xdp_stale_total", "Queries whose answer in XDP was from before a change.", stats.Stale},
		{"tandem_dnsd_xdp_limited_total", "Queries left to the sockets because their network had enough from XDP.", stats.Limited},
		{"tandem_dnsd_xdp_no_room_total", "Queries left to the sockets because their frame could not grow.", stats.NoRoom},
		{"tandem_dnsd_xdp_kept_total", "Answers put into the kernel.", a.kept.Load()},
		{"tandem_dnsd_xdp_forgotten_total", "Questions not kept for too many waited.", a.forgotten.Load()},
		{"tandem_dnsd_xdp_failed_total", "Answers that the kernel did not take.", a.failed.Load()},
	} {
		emit(tandem.Sample{Name: v.name, Help: v.help, Value: float64(v.value)})
	}
}
