package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// pinThread keeps the calling thread on the client's CPU.
func pinThread() {
	var set unix.CPUSet
	set.Set(min(1, runtime.NumCPU()-1))
	// Refused in some containers; then the load is merely less steady.
	_ = unix.SchedSetaffinity(0, &set)
}
