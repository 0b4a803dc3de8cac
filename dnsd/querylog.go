package dnsd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"

	"tandem/dnsd/guard"
	"tandem/dnsd/outlet"
)

// mostLogWaiting bounds the octets of lines that wait to be written.
const mostLogWaiting = 1 << 20

// queryLog writes a JSON line about each exchange that it sees, as far as its rate lets it.
type queryLog struct {
	file  *outlet.File // nil: standard error
	to    io.Writer
	queue *outlet.Queue
	own   *slog.Logger // of the server
	down  bool         // it was said that lines cannot be written

	perSecond int
	second    int64 // for which left counts
	left      int
	line      *slog.Logger // onto queue

	lines, lost, over atomic.Uint64
}

func newQueryLog(cfg QueryLog, log *slog.Logger) *queryLog {
	q := &queryLog{own: log, queue: outlet.NewQueue(mostLogWaiting), perSecond: orDefault(cfg.PerSecond, 100), to: os.Stderr}
	if cfg.File != "" {
		q.file = &outlet.File{Path: cfg.File, Most: int64(orDefault(cfg.FileSize, 256)) << 20}
		q.to = q.file
	}
	q.line = slog.New(slog.NewJSONHandler(queueWriter{q}, &slog.HandlerOptions{ReplaceAttr: withoutLevel}))
	return q
}

// withoutLevel leaves out what all lines have in common.
func withoutLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == slog.TimeKey) {
		return slog.Attr{}
	}
	return a
}

// queueWriter puts each line into the queue, or counts it as lost.
type queueWriter struct{ log *queryLog }

func (w queueWriter) Write(line []byte) (int, error) {
	if !w.log.queue.Put(line) {
		w.log.lost.Add(1)
	}
	return len(line), nil
}

// open opens the file, if there is one.
func (q *queryLog) open() error {
	if q.file == nil {
		return nil
	}
	if err := q.file.Open(); err != nil {
		return fmt.Errorf("query log: %w", err)
	}
	return nil
}

// see writes a line, unless there were too many within this second.
func (q *queryLog) see(g *glimpse) {
	if now := g.answered.Unix(); now != q.second {
		q.second, q.left = now, q.perSecond
	}
	if q.left == 0 {
		q.over.Add(1)
		return
	}
	q.left--
	name, rrtype := questionText(g.query())
	rcode, flags := "", answerFlags(g)
	if g.size > 0 {
		rcode = rcodeText(answerRcode(g.answer()))
	}
	q.line.LogAttrs(context.Background(), slog.LevelInfo, "",
		slog.Time("at", g.asked.UTC()), slog.String("client", endText(g.client)), slog.String("transport", g.over.String()),
		slog.String("name", name), slog.String("type", rrtype), slog.String("rcode", rcode), slog.Int("size", g.size),
		slog.String("path", g.by.String()), slog.String("flags", flags))
}

// endText is an address, with its port where it is known.
func endText(at netip.AddrPort) string {
	if at.Port() == 0 {
		return at.Addr().String()
	}
	return at.String()
}

// questionText returns name and type of a query's question, "" for one that cannot be read.
func questionText(in []byte) (name, rrtype string) {
	if len(in) < headerSize || binary.BigEndian.Uint16(in[4:]) == 0 {
		return "", ""
	}
	name, at, err := dns.UnpackDomainName(in, headerSize)
	if err != nil || at+4 > len(in) {
		return "", ""
	}
	return name, dns.Type(binary.BigEndian.Uint16(in[at:])).String()
}

// answerRcode returns an answer's rcode, with what OPT adds to it; -1 without an answer to be read.
func answerRcode(out []byte) int {
	if len(out) < headerSize {
		return -1
	}
	rcode := int(out[3] & 15)
	if out[6]|out[7]|out[8]|out[9] == 0 && out[11] > 0 {
		rcode |= extended(out)
	}
	return rcode
}

// rcodeText returns an rcode's name; "" for -1.
func rcodeText(rcode int) string {
	if rcode < 0 {
		return ""
	}
	if text, known := dns.RcodeToString[rcode]; known {
		return text
	}
	return strconv.Itoa(rcode)
}

// answerFlags names the flags of an answer, and of the query's RD and EDNS, as dig does.
func answerFlags(g *glimpse) (flags string) {
	add := func(set bool, name string) {
		if set {
			if flags != "" {
				flags += " "
			}
			flags += name
		}
	}
	if out := g.answer(); len(out) >= headerSize {
		add(out[2]&flagQR != 0, "qr")
		add(out[2]&flagAA != 0, "aa")
		add(out[2]&0x02 != 0, "tc")
		add(out[2]&flagRD != 0, "rd")
	}
	f := guard.Read(g.query())
	add(f.EDNS, "edns")
	add(f.DO, "do")
	add(f.Cookie != nil, "cookie")
	return flags
}

// run writes lines until ctx ends, then those that wait.
func (q *queryLog) run(ctx context.Context) {
	var spare []byte
	for {
		last := false
		select {
		case <-q.queue.Ready():
		case <-ctx.Done():
			last = true
		}
		lines, n := q.queue.Take(spare)
		spare = lines
		if n > 0 {
			q.write(lines, uint64(n))
		}
		if last {
			break
		}
	}
	if q.file != nil {
		q.tell(q.file.Close())
	}
}

// write writes lines, and counts them.
func (q *queryLog) write(lines []byte, n uint64) {
	_, err := q.to.Write(lines)
	if err == nil {
		q.lines.Add(n)
	} else {
		q.lost.Add(n)
	}
	q.tell(err)
}

// tell logs that lines cannot be written, or can again, once each.
func (q *queryLog) tell(err error) {
	switch {
	case err != nil && !q.down:
		q.own.Warn("the query log is interrupted", "err", err)
	case err == nil && q.down:
		q.own.Info("the query log goes on")
	}
	q.down = err != nil
}
