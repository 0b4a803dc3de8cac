package httpproxy

// The tests reach what has no face: the grammar of hosts and of pool keys, and the order of targets.
var (
	HostName     = hostName
	PoolKey      = poolKey
	ParsePoolKey = parsePoolKey
	Order        = order
)
