package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// web is a small HTTP listener in front of a handler that answers at once: provisioning, metrics.
type web struct {
	at      netip.AddrPort
	handler http.Handler
	tls     *tls.Config       // nil: plain
	bound   func(port uint16) // told the port once it is bound; may be nil
	log     *slog.Logger
	sockets binder // nil: new ones

	listener    net.Listener
	connections atomic.Int64
	open        sync.WaitGroup // connections
}

// binder opens listening sockets, or has some that were left by the process before.
type binder interface {
	Listen(network, address string) (net.Listener, error)
}

// webConnections bounds a web's connections; one more is closed unread.
const webConnections = 4096

// Listen binds.
func (w *web) Listen() error {
	listen := net.Listen
	if w.sockets != nil {
		listen = w.sockets.Listen
	}
	l, err := listen("tcp", w.at.String())
	if err != nil {
		return fmt.Errorf("bind %s: %w", w.at, err)
	}
	w.listener = l
	if w.bound != nil {
		w.bound(w.Addrs()[0].Port())
	}
	return nil
}

// Addrs returns the bound address after Listen.
func (w *web) Addrs() []netip.AddrPort {
	return []netip.AddrPort{w.listener.Addr().(*net.TCPAddr).AddrPort()}
}

// Run serves until ctx ends, then gives requests in progress a moment.
func (w *web) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: w.handler, TLSConfig: w.tls, ConnState: w.count,
		ReadTimeout: 10 * time.Second, WriteTimeout: 90 * time.Second, // a profile of 60 s included
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if w.tls != nil {
			ended <- server.ServeTLS(w.listener, "", "")
		} else {
			ended <- server.Serve(w.listener)
		}
	}()
	var failed error
	select {
	case failed = <-ended:
	case <-ctx.Done():
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(patient) // who is not done is cut off next
		server.Close()
		<-ended
	}
	w.open.Wait()
	return failed
}

// count keeps the number of connections within its bound.
func (w *web) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		w.open.Add(1)
		if w.connections.Add(1) > webConnections {
			conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		w.connections.Add(-1)
		w.open.Done()
	}
}
