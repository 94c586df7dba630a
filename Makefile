# hotdeskd. "make help" lists the targets.
TAGS        := -tags nomsgpack
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
COUNT       ?= 6

.PHONY: help build run test test-peers check mutants fuzz bench golden sounds

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

build: ## bin/hotdeskd, one static binary
	CGO_ENABLED=0 go build -trimpath $(TAGS) -o bin/hotdeskd ./cmd/hotdeskd

run: build ## the demo: a server and simulated phones on loopback, told line by line; ctrl-C ends it
	./bin/hotdeskd serve --demo

test: ## all tests that need nothing but Go, git, make and a C compiler
	go test $(TAGS) -race ./...

test-peers: build ## the same with real peers (baresip, linphone-cli, twinkle-console, sip-tester, kamailio, chromium); fails when one is missing
	go test $(TAGS) -race ./...
	HOTDESKD_PEERS=required go test $(TAGS) -race -count=1 -run 'TestPeer' ./cmd/hotdeskd

check: ## format, vet, staticcheck, layers, race
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet $(TAGS) ./...
	go run $(STATICCHECK) $(TAGS) ./...
	go test $(TAGS) -race ./internal/layers
	go mod tidy -diff

mutants: ## plant known mistakes one at a time; fails when the tests do not notice one
	go run ./internal/mutants

fuzz: ## every fuzz target in turn, FUZZTIME each
	@set -e; for pkg in $$(go list $(TAGS) ./...); do \
	  for f in $$(go test $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; go test $(TAGS) -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

bench: ## benchmarks, COUNT times each, for benchstat
	go test $(TAGS) -run '^$$' -bench . -benchmem -count $(COUNT) ./...

golden: ## write the golden files anew and show what changed
	go test $(TAGS) ./phonetemplates -run TestGolden -update
	git diff --stat -- phonetemplates/testdata

sounds: ## rebuild the prompts from their texts (maintainers; needs the voices)
	sounds/make.sh
