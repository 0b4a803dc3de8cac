#!/bin/bash
# Runs every fuzz test of every package for a stated time, one after the other.
# usage: fuzz.sh TIME     TIME as Go writes a duration, or as a count such as 1000x
set -euo pipefail
time=${1:?usage: fuzz.sh TIME}
cd "$(dirname "$0")/.."

found=0
for package in $(go list ./...); do
	for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $name for $time"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package"
		found=$((found + 1))
	done
done
[ "$found" -gt 0 ] || { echo "fuzz: no fuzz test found" >&2; exit 1; }
echo "$found fuzz tests ran for $time each"
