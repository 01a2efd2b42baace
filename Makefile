# The two commands that matter: `make drill` and `make test`. Both install what is missing.

CARGO ?= cargo
RPITR = target/release/rpitr

.PHONY: drill test build setup lint format bench chaos clean

## Recover a real PostgreSQL from a TRUNCATE, prove it, clean up.
drill: build
	$(RPITR) scripts/full_recovery.lua

## Every test: Rust, Lua, command line, real servers.
test: setup
	$(CARGO) test --no-fail-fast

build: setup
	$(CARGO) build --release

setup:
	@sh tools/setup.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@if command -v stylua >/dev/null; then stylua --check stdlib scripts tests benches; \
	 else echo "stylua is not installed: Lua formatting was not checked"; fi
	@sh tools/lint_lua.sh

format:
	$(CARGO) fmt
	@if command -v stylua >/dev/null; then stylua stdlib scripts tests benches; fi

## The numbers of docs/performance.md, each against a named peer.
bench: build
	bash benches/startup.sh
	bash benches/tasks.sh
	$(RPITR) benches/setup.lua
	$(RPITR) benches/point_select.lua
	$(RPITR) benches/writers.lua
	$(RPITR) benches/restores.lua
	bash benches/drill.sh
	bash benches/wal.sh
	bash benches/docker.sh
	bash benches/repl.sh

## Chaos with ten seeds, a minute each; every run must be proved and leave nothing. SEEDS and RUNTIME choose.
chaos: build
	bash benches/chaos_seeds.sh $(or $(SEEDS),10) $(or $(RUNTIME),local)

clean:
	$(CARGO) clean
