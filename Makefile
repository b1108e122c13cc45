# The one menu. `make demo` and `make test` do all the set-up they need.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo

.PHONY: help setup demo test bench ci lint image plugin compose sim ipam soak

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## install what builds and tests need (Debian or Ubuntu, as root)
	@scripts/setup

demo: setup ## three agents on three simulated hosts: see packets cross
	@scripts/progress "building weft (release)" $(CARGO) build --release --locked --bin weft
	@$$($(CARGO) metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/weft lab run

image: ## the agent as an image of the Docker Engine, weft:latest
	@scripts/setup image
	@scripts/image

plugin: ## the managed plugin for `docker plugin create`, in target/plugin
	@scripts/setup image
	@scripts/plugin

compose: ## three nodes in containers: four scenarios, and their outcome (ARGS=--json)
	@scripts/setup image
	@compose/run $(ARGS)

test: setup ## everything CI runs: lint, all tests, the demo
	@scripts/setup engine
	@scripts/lint
	@scripts/test

lint: ## format, clippy, docs, purity
	@scripts/lint

SEEDS ?= 0..10000
sim: ## sweep the simulator of the whole cluster: SEEDS=0..10000, ARGS=--json (docs/TESTING.md)
	@$(CARGO) run --release --locked --quiet -p weft-tests --bin sim -- --seeds $(SEEDS) $(ARGS)

SCHEDULES ?= 100000
ipam: ## sweep the schedules of address allocation: SCHEDULES=100000 (docs/TESTING.md)
	@WEFT_IPAM_SCHEDULES=$(SCHEDULES) $(CARGO) test --release --locked -p weft-ipam --lib -- --nocapture no_schedule_binds_twice | tail -4

MINUTES ?= 60
soak: setup ## real agents through changes and faults, and what they hold: MINUTES=60, ARGS=--json
	@scripts/progress "building weft and the soak (release)" $(CARGO) build --release --locked --bin weft --bin soak
	@$$($(CARGO) metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/soak --minutes $(MINUTES) $(ARGS)

bench: setup ## measure, and print ratios
	@scripts/bench

ci: test ## what CI runs
