package handover

import (
	"fmt"
	"net"
	"os"
)

// Notify tells the service manager a state, such as READY=1, when there is one that wants to know
// (NOTIFY_SOCKET, sd_notify(3)).
func Notify(state string) error {
	at := os.Getenv("NOTIFY_SOCKET")
	if at == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
