# Every command of the project. Run `make` or `make help` for the list.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
HOME_FOLDER ?= certwright-home
SOURCES := $(wildcard src tests bench)
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test check format bench peers contract guide lock clean packages

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## Start a PKI with everything in ./certwright-home (made when it is not there)
	@[ -e $(HOME_FOLDER)/certwright.toml ] || $(BIN)/certwright --home $(HOME_FOLDER) init
	@exec $(BIN)/certwright --home $(HOME_FOLDER) run

test: packages $(VENV)/.active-directory ## Run every test; installs what they need (system packages too, when root)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.dev ## Format, lint, types, import rules, unit tests: under a minute
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py tests/test_docs.py tests/unit -n auto -m "not slow and not peer" $(PYTEST_ARGS)

format: $(VENV)/.dev ## Put the code into the project's format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

contract: $(VENV)/.dev ## One suite per interface, against every implementation
	$(BIN)/python -m pytest tests/contract $(PYTEST_ARGS)

peers: packages $(VENV)/.active-directory ## Other people's clients and checkers against a running server
	$(BIN)/python -m pytest -m peer $(PYTEST_ARGS)

bench: $(VENV)/.dev ## Measure speed as ratios; BENCH_ARGS=--peers runs other CAs beside ours
	$(BIN)/python -m bench $(BENCH_ARGS)

guide: $(VENV)/.dev ## Make the generated parts of docs/guide anew (pictures: scripts/screenshots)
	$(BIN)/python scripts/guide

packages: ## Install the system packages that the tests use (as root; otherwise say what is missing)
	@scripts/test-packages

lock: ## Make the requirement locks anew: names, versions and hashes, no addresses
	@scripts/lock

clean: ## Remove the environment and what the tools keep
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml scripts/environment
	@scripts/environment $(VENV) runtime

$(VENV)/.dev: requirements/dev.txt requirements/build.txt pyproject.toml scripts/environment
	@scripts/environment $(VENV) dev

$(VENV)/.active-directory: $(VENV)/.dev requirements/active-directory.txt scripts/environment
	@scripts/environment $(VENV) active-directory
