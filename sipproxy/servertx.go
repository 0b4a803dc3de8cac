package sipproxy

import (
	"strconv"
	"strings"
	"time"

	"tandem/internal/tandem"
	"tandem/sipproxy/wire"
)

// txState is the state of a transaction, server's or client's (RFC 3261 section 17, RFC 6026).
type txState uint8

const (
	calling    txState = iota // client: nothing came back yet. Server: Trying
	proceeding                // a provisional response was there
	accepted                  // INVITE: a 2xx was there
	completed                 // another final response was there
	confirmed                 // server INVITE: ACK was there
	ended
)

// serverTx is one server transaction.
type serverTx struct {
	w        *worker
	key      string
	req      *wire.Message
	back     hop // where responses go
	state    txState
	last     []byte // response to repeat
	interval time.Duration
	retry    alarm // Timer G
	limit    alarm // Timers H, I, J, L
	forward  *forwarding
}

// serverKey tells transactions apart (RFC 3261 section 17.2.3). An ACK has the key of its INVITE.
func serverKey(m *wire.Message) string {
	method := m.Method
	if method == "ACK" {
		method = "INVITE"
	}
	v := &m.Via
	if len(v.Branch) > len(cookie) && strings.EqualFold(v.Branch[:len(cookie)], cookie) {
		return v.Branch + " " + v.Host + ":" + strconv.Itoa(int(v.Port)) + " " + method
	}
	return strings.Join([]string{m.URI, m.From.Tag, m.CallID, strconv.FormatUint(uint64(m.CSeq), 10), v.Branch,
		v.Host, strconv.Itoa(int(v.Port)), method}, " ")
}

// newServerTx opens a transaction for a; nil when the table is full.
func (w *worker) newServerTx(a *ask) *serverTx {
	if w.count.serverTx.Load() >= int64(w.cfg.Transactions) {
		w.count.tableFull.Add(1)
		return nil
	}
	tx := &serverTx{w: w, key: a.key, req: a.m, back: a.back}
	w.servers[tx.key] = tx
	w.count.serverTx.Add(1)
	return tx
}

// again takes a request that matches the transaction: a retransmission, or the ACK to a final
// response that is not a 2xx. It is false for an ACK that goes on to the callee.
func (tx *serverTx) again(m *wire.Message) bool {
	if m.Method == "ACK" {
		switch tx.state {
		case completed:
			tx.state = confirmed
			tx.last = nil
			tx.w.alarms.stop(&tx.retry)
			if tx.back.transport == tandem.UDP {
				tx.w.alarms.set(&tx.limit, tx, limitAlarm, tx.w.now.Add(t4)) // Timer I
			} else {
				tx.end()
			}
		case accepted:
			return false
		}
		return true
	}
	if tx.last != nil && (tx.state == proceeding || tx.state == completed) {
		tx.repeat()
	}
	return true
}

// respond sends a response and moves the state on. After a final response, of whatever kind, only
// 2xx to an INVITE pass.
func (tx *serverTx) respond(m *wire.Message) {
	invite := tx.req.Method == "INVITE"
	w := tx.w
	if tx.state >= accepted {
		if invite && m.Status/100 == 2 { // RFC 3261 section 16.7 step 5
			tx.send(m)
		}
		return
	}
	tx.send(m)
	udp := tx.back.transport == tandem.UDP
	switch {
	case m.Status < 200:
		tx.state = proceeding
		tx.keep()
	case invite && m.Status < 300:
		tx.state, tx.last = accepted, nil
		w.alarms.set(&tx.limit, tx, limitAlarm, w.now.Add(giveUp)) // Timer L
	case invite:
		tx.state = completed
		tx.keep()
		tx.interval = t1
		if udp {
			w.alarms.set(&tx.retry, tx, retryAlarm, w.now.Add(t1)) // Timer G
		}
		w.alarms.set(&tx.limit, tx, limitAlarm, w.now.Add(giveUp)) // Timer H
	case udp:
		tx.state = completed
		tx.keep()
		w.alarms.set(&tx.limit, tx, limitAlarm, w.now.Add(giveUp)) // Timer J
	default:
		tx.end()
	}
}

// send sends a response back. When the connection that asked is gone, it goes over another one to
// where the Via wants it (RFC 3261 section 18.2.2), on the host that asked.
func (tx *serverTx) send(m *wire.Message) {
	err := tx.w.write(m, tx.back, 0)
	if err == nil || tx.back.transport != tandem.TCP {
		return
	}
	port := tx.req.Via.Port
	if port == 0 {
		port = 5060
	}
	tx.w.write(m, hop{transport: tandem.TCP, listener: tx.back.listener, remote: netipAddrPort(tx.back.remote.Addr(), port)}, 0)
}

// keep remembers the octets just written, to repeat them.
func (tx *serverTx) keep() { tx.last = append(tx.last[:0:0], tx.w.buf...) }

func (tx *serverTx) repeat() {
	tx.w.put(tx.last, tx.back, 0)
	tx.w.repeated(tx.last, tx.req, tx.back)
}

func (tx *serverTx) wake(which alarmKind) {
	if which == limitAlarm {
		tx.end()
		return
	}
	tx.repeat()
	tx.interval = min(2*tx.interval, t2)
	tx.w.alarms.set(&tx.retry, tx, retryAlarm, tx.w.now.Add(tx.interval))
}

func (tx *serverTx) end() {
	if tx.state == ended {
		return
	}
	tx.state = ended
	tx.w.alarms.stop(&tx.retry)
	tx.w.alarms.stop(&tx.limit)
	delete(tx.w.servers, tx.key)
	tx.w.count.serverTx.Add(-1)
}
