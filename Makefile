# libshmds. `make` builds it, `make demo` shows it, `make test` proves it; CONTRIBUTING.md says more.
.NOTPARALLEL:
unexport MAKEFLAGS MFLAGS # cargo and cmake run jobs of their own

export CMAKE_BINARY_DIR ?= target/cmake
export SHMDS_PEERS_DIR := $(abspath $(CMAKE_BINARY_DIR)/peers)
CARGO_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
JOBS := $(shell nproc)
PREFIX ?= /usr/local
timed := @scripts/timed.sh

.PHONY: build demo test test-rust test-c test-package test-loom test-kill sanitize test-instructions instructions-baseline check header bench fuzz soak install tools clean help

build: tools ## the library, and the tests and examples in C and C++
	@cmake -S . -B $(CMAKE_BINARY_DIR) -DSHMDS_CARGO_DIR=$(CARGO_DIR) >/dev/null
	$(timed) build cmake --build $(CMAKE_BINARY_DIR) --parallel $(JOBS)

demo: build ## three languages on one segment
	cargo build --locked --release --examples
	@scripts/demo.sh

test: test-rust test-c test-package test-loom test-kill sanitize test-instructions ## everything
	@echo "All tests passed."

test-rust: build ## the Rust tests, with the C and C++ peers
	$(timed) $@ scripts/test-rust.sh

test-c: build ## the C and C++ tests, and the symbols
	$(timed) $@ ctest --test-dir $(CMAKE_BINARY_DIR) --parallel $(JOBS) --output-on-failure --no-tests=error
	@scripts/check-symbols.sh $(CMAKE_BINARY_DIR)/lib/libshmds.so
	@scripts/test-readme.sh $(CMAKE_BINARY_DIR)

test-package: build ## the installed package, from outside
	@scripts/check-native-libs.sh
	$(timed) $@ scripts/test-package.sh $(CMAKE_BINARY_DIR)

test-loom: tools ## the model check
	$(timed) $@ scripts/loom.sh

test-kill: tools ## a death at every store
	$(timed) $@ scripts/kill-points.sh

sanitize: build ## races, stray accesses and leaks: ThreadSanitizer, AddressSanitizer, valgrind
	@scripts/tools.sh valgrind || true # without it, it is said that it was not run
	$(timed) $@ scripts/sanitize.sh

test-instructions: build ## the hot paths take as many instructions as they did
	@scripts/tools.sh valgrind || true # without it, it is said that nothing was compared
	$(timed) $@ scripts/instructions.sh $(CMAKE_BINARY_DIR)

instructions-baseline: build ## refresh benches/instructions.txt, after a change that is meant
	@scripts/tools.sh valgrind
	scripts/instructions.sh $(CMAKE_BINARY_DIR) refresh

check: ## format, lints, documentation; all warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cargo clippy --locked --manifest-path benches/peers/Cargo.toml --target-dir $(CARGO_DIR)/bench/peers --no-default-features -- -D warnings
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

header: ## refresh include/shmds.h from the sources
	SHMDS_UPDATE_HEADER=1 cargo test --locked --test header

bench: build ## measure
	scripts/bench.sh

fuzz: ## a fuzzer attacks for a minute each, SECONDS=n for longer
	scripts/fuzz.sh $(or $(SECONDS),60)

soak: build ## the long runs
	scripts/soak.sh

install: build ## to PREFIX
	cmake --install $(CMAKE_BINARY_DIR) --prefix $(PREFIX)

tools: ## look for what is needed, install it where possible
	@scripts/tools.sh

clean:
	cargo clean
	rm -rf $(CMAKE_BINARY_DIR)

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 32
