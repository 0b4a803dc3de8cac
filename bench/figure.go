package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// figure prints one line that scripts read. Relation and goal are "-" when there is no goal.
func figure(name string, value float64, unit, relation, goal string) {
	fmt.Printf("figure %s %.4g %s goal %s %s\n", name, value, unit, relation, goal)
}

// condition prints one line of what was measured on and how.
func condition(name, format string, args ...any) {
	fmt.Printf("condition %s: %s\n", name, fmt.Sprintf(format, args...))
}

// machine prints the conditions that every benchmark shares.
func machine() {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	condition("machine", "%d CPUs, %s, Linux %s, load %s", runtime.NumCPU(), model,
		strings.TrimSpace(string(kernel)), strings.Join(strings.Fields(string(load))[:3], " "))
	condition("pinning", "each server on CPU 0, the client on CPU %d", min(1, runtime.NumCPU()-1))
}

// interleaved prints how the servers of a comparison take turns.
func interleaved(o options) {
	condition("rounds", "%d, interleaved; figures are medians, ratios are medians of each round's ratio", o.rounds)
}

// median returns the middle of values, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// ratios divides each round's value by the peer's of the same round.
func ratios(ours, peer []float64) []float64 {
	var all []float64
	for i := range min(len(ours), len(peer)) {
		if peer[i] > 0 {
			all = append(all, ours[i]/peer[i])
		}
	}
	return all
}
