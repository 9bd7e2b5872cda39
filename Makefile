# PKG and FLAGS narrow `make test`: make test PKG=./store FLAGS='-run Claim -v'
PKG ?= ./...
FLAGS ?=
FUZZTIME ?= 20s
TOOL := go tool -modfile=tools/go.mod

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9\/-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build every command into bin/
	go build ./...
	go build -tags nosqlite ./cmd/api ./cmd/worker # as the images are
	go build -tags nomsgpack -o bin/ ./cmd/... # without the tag Gin brings a codec along that nothing uses

.PHONY: test
test: ## run all tests with -race; installs PostgreSQL, Redis and Prometheus where they are missing
	@tools/install.sh
	CGO_ENABLED=1 go run ./internal/testenv/up -- go test -race -p 2 -timeout 25m $(FLAGS) $(PKG)

.PHONY: e2e
e2e: ## drive a real Chromium against a whole Waybill; PICTURES=../docs/images renews the documentation's pictures
	@tools/install.sh chromium
	cd e2e && go vet ./... && go test -count 1 ./... -pictures "$(PICTURES)"

.PHONY: manifests
manifests: ## hold the files for Kubernetes and Grafana to the types and schemas that these read them with
	cd deploy/kubernetes/check && go vet ./... && go test -count 1 ./...
	cd dashboards/check && go vet ./... && go test -count 1 ./...

.PHONY: examples
examples: ## build and test the programs in examples/ against this tree
	cd examples/thumbnails && go vet ./... && go test -count 1 ./...

.PHONY: clients
clients: ## generate clients from openapi.yaml with three generators, compile them, and submit a job with each; needs Node
	tools/clients/check.sh

.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZTIME (20s)
	@grep -rEo --include='*_test.go' 'func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file name; do \
		go test -run '^$$' -fuzz "^$${name#func }$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

.PHONY: schedules-soak
schedules-soak: ## kill workers under 1,000 schedules for two minutes, and account for every tick
	@tools/install.sh
	go test -tags soak -run Soak -timeout 15m -count 1 -v ./internal/schedule

.PHONY: chaos
chaos: ## break everything that can break under load, and check every invariant after each fault; 20 minutes; flags in ARGS
	@tools/install.sh
	go run ./chaos $(ARGS)

.PHONY: clocks
clocks: ## run a deployment whose processes' clocks differ and jump; builds the programs with a package time that tests can move
	@tools/install.sh
	go test -count 1 -timeout 30m -v -tags clocks ./chaos/clock

.PHONY: chaos-short
chaos-short: ## the few of these faults that every change must survive; 3 minutes
	@tools/install.sh
	go run ./chaos -short $(ARGS)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, govulncheck
	@wrong=$$(gofmt -l .) && if [ -n "$$wrong" ]; then echo "not as gofmt writes it:"; echo "$$wrong"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	cd bench && go vet ./... && go tool -modfile=../tools/go.mod staticcheck ./...
	@tools/vulncheck.sh

.PHONY: dev
dev: ## run everything in one process on 127.0.0.1:8080; flags in ARGS
	go run -tags nomsgpack ./cmd/waybill dev $(ARGS) # the tag saves compiling a codec that nothing uses

.PHONY: migrate
migrate: ## bring the database of DATABASE_URL up to date
	go run ./cmd/waybill migrate up

.PHONY: bench
bench: ## measure Waybill, bare asynq and River on servers of their own, in about 3 minutes; flags in ARGS
	@tools/install.sh
	cd bench && go run . $(ARGS)

.PHONY: up
up: ## run a whole deployment with docker compose
	IMAGE_VERSION=$$(git describe --tags --always --dirty 2>/dev/null) docker compose up --build --detach --wait

.PHONY: release
release: ## build the release of the tag on this commit into dist/, with checksums
	tools/release.sh

.PHONY: clean
clean: ## remove what was built; the data of `make dev` in .waybill/ stays
	rm -rf bin dist coverage.out
