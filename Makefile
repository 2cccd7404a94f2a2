# Every target does its own set-up: a fresh machine with Node, Go, Rust, Python and root on Debian is enough.
SHELL := /bin/bash
NODE := node_modules/.bin/node
MOCHA := $(NODE) node_modules/.bin/mocha
TS := $(NODE) -r ts-node/register/transpile-only

.DEFAULT_GOAL := help

help: ## Lists the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

node_modules/.fmo-installed: package-lock.json
	@echo "installing the npm dependencies ..."
	@npm ci --no-progress --loglevel=error
	@touch $@

setup: node_modules/.fmo-installed ## Installs the npm dependencies (Node 24 among them)

run: setup ## Starts the product on this machine, without a cluster, in front of FORGEJO_URL or a local forge
	@$(TS) scripts/run.ts

up: setup ## Starts the product on a real Kubernetes and shows two users at work
	@$(TS) scripts/up.ts

down: setup ## Undoes `make up`
	@test/cluster/down.sh

cluster: ## Boots the test cluster (CLUSTER=kind: kind; KUBECONFIG=...: that cluster)
	@test/cluster/up.sh

cluster-down: ## Stops the test cluster and leaves nothing behind
	@test/cluster/down.sh

images: setup ## Makes the gateway and child images without Docker
	@test/images/build.sh all

build: setup ## Compiles to dist/
	@$(NODE) node_modules/.bin/tsc -p tsconfig.build.json

launcher: ## Builds the launcher into .run/launcher
	@launcher/build.sh .run/launcher

crds: setup ## Makes crds/ and the chart's copy of it from src/resources
	@$(TS) scripts/crds.ts

lint: setup ## eslint (type-aware), prettier, go vet
	@$(NODE) node_modules/.bin/eslint .
	@$(NODE) node_modules/.bin/prettier --check . --log-level warn
	@cd launcher && test -z "$$(gofmt -l .)" && go vet ./...

format: setup ## Formats everything
	@$(NODE) node_modules/.bin/prettier --write . --log-level warn
	@gofmt -w launcher

types: setup ## Type-checks everything
	@$(NODE) node_modules/.bin/tsc --noEmit

test: ## Everything: lint, types, unit, contract, integration, chart, end to end on the cluster
	@scripts/test.sh

test-unit: setup ## The quick tests, in seconds
	@$(MOCHA) 'test/unit/**/*.test.ts'

test-integration: setup ## Real children, a real forge, real clients; no cluster
	@$(MOCHA) 'test/{contract,integration}/**/*.test.ts'

fuzz: setup ## Fuzzes /mcp, raw HTTP, framing and the translation between eras (FUZZ_SECONDS for all together, 600 unless set; FUZZ_SEED)
	@$(MOCHA) 'test/fuzz/**/*.test.ts'

soak: setup ## Ten sessions at two gateways for five minutes, with tokens that live for seconds (FMO_SOAK_SECONDS)
	@FMO_SOAK_SECONDS=$${FMO_SOAK_SECONDS:-300} $(MOCHA) test/integration/oauth-rotation.test.ts

test-e2e: setup ## Tests on the real cluster, which must be up
	@eval "$$(test/cluster/env.sh)" && $(MOCHA) 'test/e2e/**/*.test.ts'

chaos: setup ## Three gateways and 60 sessions on the cluster, which must be up, with everything broken at once, and an API server that stands still (FMO_CHAOS_SECONDS, 300 unless set)
	@eval "$$(test/cluster/env.sh)" && $(MOCHA) 'test/soak/**/*.test.ts'

coverage: setup ## Branch coverage of src/sessions and src/bridge, at least 95 %
	@scripts/coverage.sh

bench: setup ## Session open and call latency beside their baselines, on one machine and on the cluster
	@$(TS) bench/main.ts

.PHONY: help setup run up down cluster cluster-down images build launcher crds lint format types test test-unit test-integration fuzz soak test-e2e chaos coverage bench
