//go:build race

package store

// raceEnabled says that the race detector is on. It finds what it is there for in a small sample;
// `make sizes` tries the whole one without it.
const raceEnabled = true
