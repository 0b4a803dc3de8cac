package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// load says how a server is asked.
type load struct {
	questions   [][]byte // packets; their first two octets are overwritten
	outstanding int      // closed loop: how many unanswered questions are kept up
	rate        int      // open loop: questions a second; zero means a closed loop
	length      time.Duration
}

// result is what came of one run.
type result struct {
	answers  int
	lost     int
	octets   int64
	seconds  float64
	p50, p99 time.Duration
}

// blast asks the server at an address and counts the answers. It takes the calling thread for
// itself.
func blast(ctx context.Context, to netip.AddrPort, l load) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pinThread()
	b := blaster{load: l, window: max(1, l.outstanding/sockets)}
	for range sockets {
		s, err := dialUDP(to)
		if err != nil {
			return result{}, fmt.Errorf("open a socket to %s: %w", to, err)
		}
		defer s.close()
		b.sockets = append(b.sockets, s)
	}
	begin := time.Now()
	if l.rate > 0 {
		b.open(ctx, begin)
	} else {
		b.closed(ctx, begin)
	}
	b.result.seconds = time.Since(begin).Seconds()
	b.summarise()
	if b.result.answers == 0 {
		return b.result, fmt.Errorf("%s answered nothing", to)
	}
	return b.result, nil
}

// sockets is over how many sockets the load is spread.
const sockets = 8

// patience is after how long a question counts as lost.
const patience = 500 * time.Millisecond

// blaster keeps the state of one run. A question's number on its socket is its DNS id.
type blaster struct {
	load
	sockets   []*udpSocket
	window    int
	next      int
	flights   [sockets][1 << 16]time.Time // when the question with this id left; zero: none
	ids       [sockets]uint16
	flying    [sockets]int
	latencies []time.Duration
	result    result
}

// closed keeps window questions unanswered on each socket.
func (b *blaster) closed(ctx context.Context, begin time.Time) {
	lastAnswer := begin
	for time.Since(begin) < b.length && ctx.Err() == nil {
		moved := 0
		for i, s := range b.sockets {
			moved += b.collect(i, s)
			if room := min(b.window-b.flying[i], batch); room > 0 {
				moved += b.ask(i, s, room)
			}
		}
		switch {
		case moved > 0:
			lastAnswer = time.Now()
		case time.Since(lastAnswer) > patience:
			b.giveUp()
			lastAnswer = time.Now()
		default:
			waitAny(b.sockets, 10*time.Millisecond)
		}
	}
}

// open sends at a steady rate, one question at a time, whatever comes back.
func (b *blaster) open(ctx context.Context, begin time.Time) {
	pause := time.Second / time.Duration(b.rate)
	due := begin
	for turn := 0; time.Since(begin) < b.length && ctx.Err() == nil; {
		if now := time.Now(); !now.Before(due) {
			b.ask(turn%sockets, b.sockets[turn%sockets], 1)
			turn++
			due = due.Add(pause)
		}
		for i, s := range b.sockets {
			b.collect(i, s)
		}
		waitAny(b.sockets, time.Until(due))
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		waitAny(b.sockets, 20*time.Millisecond)
		for i, s := range b.sockets {
			b.collect(i, s)
		}
	}
	b.giveUp()
}

// ask sends the next n questions on a socket.
func (b *blaster) ask(i int, s *udpSocket, n int) int {
	now := time.Now()
	first := b.ids[i]
	sent := s.send(n, func(k int, buffer []byte) int {
		question := b.questions[(b.next+k)%len(b.questions)]
		size := copy(buffer, question)
		binary.BigEndian.PutUint16(buffer, first+uint16(k))
		return size
	})
	for k := range sent {
		b.flights[i][first+uint16(k)] = now
	}
	b.next += sent
	b.ids[i] += uint16(sent)
	b.flying[i] += sent
	return sent
}

// collect takes the answers that a socket has.
func (b *blaster) collect(i int, s *udpSocket) int {
	now := time.Now()
	return s.receive(func(datagram []byte) {
		if len(datagram) < 12 {
			return
		}
		id := binary.BigEndian.Uint16(datagram)
		if left := b.flights[i][id]; !left.IsZero() {
			b.latencies = append(b.latencies, now.Sub(left))
			b.flights[i][id] = time.Time{}
			b.flying[i]--
			b.result.octets += int64(len(datagram))
			b.result.answers++
		}
	})
}

// giveUp counts what is still in flight as lost.
func (b *blaster) giveUp() {
	for i := range b.flights {
		b.result.lost += b.flying[i]
		b.flying[i] = 0
		clear(b.flights[i][:])
	}
}

func (b *blaster) summarise() {
	if len(b.latencies) == 0 {
		return
	}
	slices.Sort(b.latencies)
	b.result.p50 = b.latencies[len(b.latencies)/2]
	b.result.p99 = b.latencies[len(b.latencies)*99/100]
}
