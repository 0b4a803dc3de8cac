# Tandem. `make run` starts it, `make test` proves it; docs/architecture.md says what is where.

GO       ?= go
FUZZTIME ?= 10s
ROUNDS   ?= 3
CHECKED   = $(shell $(GO) list ./... | grep -v '^tandem/tests$$')

export GOFLAGS ?= -mod=readonly

.PHONY: all build run check house test sizes end-to-end test-long fuzz bench bench-dns bench-sip bench-lb tools clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o tandem ./cmd/tandem

# The main job: the server on the quick-start file, with a little telco beside it.
run: build
	./tandem lab

# What a change must pass before it is looked at; two minutes on two cores once the build cache is
# warm. The race detector needs a C compiler.
check:
	@tests/debian.sh compiler
	@unformatted=$$(gofmt -l .); \
	  test -z "$$unformatted" || { echo "not in gofmt's form:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 -run '^TestHouse' ./tests
	$(GO) test -race -shuffle=on $(CHECKED)

house:
	$(GO) test -count=1 -run '^TestHouse' -v ./tests

# What proves it: check, then samples at full size, then the real process against real clients.
test: tools check sizes end-to-end

# What the race detector makes so slow that check tries a smaller sample of it.
sizes:
	$(GO) test ./dnsd ./store

end-to-end:
	$(GO) test -count=1 -timeout 15m ./tests

# The rest, run before an issue is called done: everything above at full size.
test-long: tools check sizes
	TANDEM_LONG=1 $(GO) test -count=1 -timeout 60m ./tests
	$(MAKE) fuzz FUZZTIME=60s

# Every fuzz test of every package for FUZZTIME each, one after the other.
fuzz:
	tests/fuzz.sh $(FUZZTIME)

bench: bench-dns bench-sip bench-lb

bench-dns: build
	@$(GO) test -run '^$$' -bench AccountOctets -benchtime 1x ./dnsd | grep -o 'figure .*'
	@$(GO) test -run '^$$' -bench 'Steer' -benchtime 1x ./dnsd | grep -o 'figure .*'
	@$(GO) test -run '^$$' -bench 'FailureToAnswer' -benchtime 1x ./internal/node | grep -o 'figure .*'
	$(GO) run ./bench dns -rounds $(ROUNDS) -peers "$$(tests/debian.sh peers)"

bench-sip: build
	@tests/debian.sh clients
	$(GO) run ./bench sip -rounds $(ROUNDS) -peers "$$(tests/debian.sh peers)"

bench-lb: build
	@tests/debian.sh clients
	@$(GO) test -run '^$$' -bench 'Assign' ./lb | grep -o 'figure .*'
	@$(GO) test -run '^$$' -bench 'Admit' -benchtime 2000000x ./lb | grep -o 'figure .*'
	@$(GO) test -run '^$$' -bench 'LeaseFetch' ./internal/node | grep -o 'figure .*'
	@$(GO) test -run '^$$' -bench 'SlowNode' -benchtime 1x ./lb | grep -o 'figure .*'
	$(GO) run ./bench lb

# Debian's clients, and the daemons that the benchmarks compare with.
tools:
	@tests/debian.sh compiler
	@tests/debian.sh clients

clean:
	rm -rf tandem out bin run
