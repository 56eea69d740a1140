# The two commands that matter: `make run` and `make test`. `make` lists all.

STATETUNE = ./target/release/statetune

.PHONY: help run build install dist wheel test test-full lint bench libtorch cuda-tools base-data base schema
# Where `make install` puts the programs.
PREFIX = $(HOME)/.local
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What `make dist` packs, and its folder.
ARCHIVE = statetune-$(VERSION)-x86_64-linux
DIST = target/dist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## provision libtorch, build, and run the main job: emoji state tuning
	$(STATETUNE) run configs/emoji-state.toml

# Tests of the program wait for each other's processes: one more than the cores at a time. Each computes with one thread,
# because the threads of several would wait for each other.
test: libtorch cuda-tools ## provision libtorch, build, and run all tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) + 1))} cargo test --release --workspace

test-full: test bench dist wheel ## the tests, those that take minutes too, and the benchmarks
	scripts/export_programs.sh
	scripts/preference_programs.sh
	scripts/suite_programs.sh
	cargo test --release --workspace -- --ignored
	scripts/install_elsewhere.sh
	scripts/container.sh

build: libtorch ## build ./target/release/statetune
	cargo build --release

install: build ## install under PREFIX (~/.local): programs, libraries, manual pages, completions
	scripts/install.sh "$(PREFIX)"

dist: build ## pack the same as an archive with a checksum in target/dist/
	rm -rf "$(DIST)/$(ARCHIVE)"* && mkdir -p "$(DIST)"
	STATETUNE_LINK=0 scripts/install.sh "$(DIST)/$(ARCHIVE)"
	tar -C "$(DIST)" --owner=0 --group=0 --sort=name -czf "$(DIST)/$(ARCHIVE).tar.gz" "$(ARCHIVE)"
	cd "$(DIST)" && sha256sum "$(ARCHIVE).tar.gz" > "$(ARCHIVE).tar.gz.sha256"
	rm -rf "$(DIST)/$(ARCHIVE)"

wheel: build ## pack the programs for pip in target/dist/, with the torch of pip for libtorch
	rm -rf "$(DIST)"/*.whl "$(DIST)/wheel"
	STATETUNE_LINK=1 scripts/install.sh "$(DIST)/wheel"
	scripts/wheel.py "$(DIST)/wheel" "$(DIST)"
	rm -rf "$(DIST)/wheel"

lint: libtorch ## formatting, words, clippy and documentation, warnings denied
	cargo fmt --all --check
	scripts/lint_words.sh
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

bench: libtorch ## how fast the kernels are here
	cargo bench

# Before anything is fetched.
.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { echo "error: cargo is needed; install Rust: https://rustup.rs" >&2; exit 1; }

libtorch: cargo ## fetch libtorch into .libtorch/, or check the one that LIBTORCH names
	@scripts/libtorch.sh

cuda-tools: ## fetch the compiler of the CUDA kernels, with which tests prove them
	@scripts/cuda_tools.sh

schema: build ## write schemas/experiment.schema.json from the config structs
	$(STATETUNE) schema --write schemas/experiment.schema.json

base-data: ## fetch and convert the texts that the shipped base model was trained on
	python3 scripts/base_corpus.py

base: build base-data ## retrain the shipped base model (about an hour on two cores)
	$(STATETUNE) run configs/tiny-base.toml
