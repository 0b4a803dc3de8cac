//go:build !race

package dnsd

// raceEnabled says that the race detector is on.
const raceEnabled = false
