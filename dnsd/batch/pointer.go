package batch

import "unsafe"

// pointer is p as the kernel takes it. What it points to lives in a Conn, which is on the heap and
// does not move.
func pointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }
