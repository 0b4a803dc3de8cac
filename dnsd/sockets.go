package dnsd

import (
	"context"
	"net"
	"syscall"
)

// Sockets opens listening sockets: those that a process before this one has left, or new ones.
type Sockets interface {
	// Given returns how many sockets for this address were left and are not taken yet.
	Given(network, address string) int
	// Listen is like net.Listen.
	Listen(network, address string) (net.Listener, error)
	// ListenPacketWith is like with.ListenPacket; options of a socket that was left are kept.
	ListenPacketWith(with *net.ListenConfig, network, address string) (net.PacketConn, error)
	// Keep says that c is from now on what was opened for this address.
	Keep(network, address string, c syscall.Conn)
}

// UseSockets has Listen open its sockets by what is given. Call it before Listen.
func (s *Server) UseSockets(sockets Sockets) { s.sockets = sockets }

// freshSockets opens new ones.
type freshSockets struct{}

func (freshSockets) Given(_, _ string) int { return 0 }

func (freshSockets) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (freshSockets) ListenPacketWith(with *net.ListenConfig, network, address string) (net.PacketConn, error) {
	return with.ListenPacket(context.Background(), network, address)
}

func (freshSockets) Keep(_, _ string, _ syscall.Conn) {}
