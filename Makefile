# Everything a person or CI does here, by name.  `make` alone lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check lint types layers clean bench-commands bench-doors bench-extension bench-switch bench-emulator bench-storage

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml scripts/install
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/install
	@touch $@

demo: $(STAMP) ## Play a VM's whole life on an emulated Hyper-V host
	@$(BIN)/cloudstack-hyperv demo

test: $(STAMP) ## Pass the tests
	@sh scripts/debian-packages tests
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile -q

test-slow: $(STAMP) ## Pass the slow tests as well
	@sh scripts/debian-packages tests
	@sh scripts/debian-packages guests || true
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile -q -m slow

check: lint types layers ## Style, types, layers

lint: $(STAMP) ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict for Python 3.11, 3.12 and 3.13
	@for version in 3.11 3.12 3.13; do $(BIN)/mypy --python-version $$version || exit 1; done

layers: $(STAMP) ## import-linter: dependencies point one way
	@$(BIN)/lint-imports

bench-commands: $(STAMP) ## Round trips and milliseconds a command, start-up time, memory
	@$(BIN)/python benchmarks/commands.py

bench-extension: $(STAMP) ## Milliseconds of an extension's status, end to end
	@$(BIN)/python benchmarks/extension.py

bench-doors: $(STAMP) ## Requests a second, latency, start-up time and memory of the doors
	@$(BIN)/python benchmarks/doors.py

bench-storage: $(STAMP) ## SMB copies against smbclient on one Samba, memory of a copy
	@sh scripts/debian-packages tests
	@$(BIN)/python -m benchmarks.storage

bench-emulator: $(STAMP) ## Calls a second, summaries, memory and starts of the emulated host
	@$(BIN)/python benchmarks/emulator.py

bench-switch: $(STAMP) ## Frames a second through the emulated hosts' user-space switch
	@$(BIN)/python benchmarks/switch.py

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
