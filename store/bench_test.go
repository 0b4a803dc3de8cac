package store

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"tandem/internal/tandem"
)

// BenchmarkAppend1000 appends accounts with a label and a number, 1,000 in a batch, to a store on disk.
func BenchmarkAppend1000(b *testing.B) {
	s, err := Open(b.TempDir(), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(context.Background(), admin, ground()); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		edits := make([]tandem.Edit, 1000)
		for i := range edits {
			a := account(fmt.Sprintf("a%d", n))
			a.Numbers = []string{fmt.Sprintf("+49%d", n)}
			edits[i] = put(a)
			n++
		}
		if _, err := s.Append(context.Background(), admin, edits); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "objects/s")
}

// BenchmarkAppendOne appends single changes from many writers, which share fsyncs.
func BenchmarkAppendOne(b *testing.B) {
	s, err := Open(b.TempDir(), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(context.Background(), admin, ground()); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Append(context.Background(), admin, []tandem.Edit{put(account(fmt.Sprintf("a%d", n.Add(1))))}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkPutBinding writes single registrations from many at once.
func BenchmarkPutBinding(b *testing.B) {
	s, err := Open(b.TempDir(), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.PutBindings(context.Background(), []tandem.Binding{binding(int(n.Add(1)))}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "bindings/s")
}

// BenchmarkSnapshot reads 100,000 accounts.
func BenchmarkSnapshot(b *testing.B) {
	s, err := OpenMemory(quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill(b, s, 100_000)
	n := 0
	for b.Loop() {
		if _, err := s.Snapshot(context.Background(), func(c []tandem.Change) error { n += len(c); return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "objects/s")
}

// BenchmarkRecordCalls records calls' beginnings and ends, one at a time, from 64 writers who share
// fsyncs.
func BenchmarkRecordCalls(b *testing.B) {
	s, err := Open(b.TempDir(), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n atomic.Int64
	b.SetParallelism(max(64/runtime.GOMAXPROCS(0), 1))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(n.Add(1))
			c := callOf(i/2, "1001")
			if i%2 == 1 {
				c = ended(c)
			}
			if err := s.RecordCalls(context.Background(), []tandem.Call{c}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
