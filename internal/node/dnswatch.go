package node

import (
	"context"
	"errors"
	"net/http"

	"tandem/dnsd"
	"tandem/internal/control"
)

// dnsStats tells what the name server has counted.
func (b *builder) dnsStats() control.DNSStats {
	series := b.dns.Stats()
	told := control.DNSStats{Series: make([]control.DNSSeries, len(series))}
	for i := range series {
		s := &series[i]
		told.Series[i] = control.DNSSeries{Name: s.Name, Help: s.Help, Labels: s.Labels, Total: s.Value}
		if !s.Gauge {
			told.Series[i].Last1, told.Series[i].Last10, told.Series[i].Last60 = &s.Rates[0], &s.Rates[1], &s.Rates[2]
		}
	}
	return told
}

// dnsTop watches the name server's queries.
func (b *builder) dnsTop(ctx context.Context, of control.DNSTopOf) (control.DNSTop, error) {
	top, err := b.dns.Top(ctx, of.By, of.For, of.Limit)
	if errors.Is(err, dnsd.ErrWatched) {
		return control.DNSTop{}, &control.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
	}
	told := control.DNSTop{
		By: of.By, Seconds: of.For.Seconds(), Queries: top.Queries, Every: top.Every, Missed: top.Missed, XDP: top.XDP, Items: []control.DNSTopItem{},
	}
	for _, item := range top.Items {
		told.Items = append(told.Items, control.DNSTopItem{Key: item.Key, Queries: item.Count, Error: item.Error})
	}
	return told, err
}
