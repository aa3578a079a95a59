# The two commands are `make demo` and `make test`; both build .venv first where it is missing or stale.
SHELL := /bin/sh
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
PYTHONS := python3.13 python3.12 python3.11 python3
# `make setup PYTHON=/path/to/python3.12` decides by hand.
PYTHON ?=

# The scripts of a .venv name its path, so one that was moved or copied has to be built anew: the stamp tells
# that it was, and pyvenv.cfg where it was built.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): stale
endif

.PHONY: help
help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1\t/p' Makefile | expand -t 16

.PHONY: setup
setup: $(STAMP)  ## Build .venv, or renew it after a change of pyproject.toml or constraints.txt
	@:

.PHONY: stale
stale:

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] && $(BIN)/python -c '' 2>/dev/null \
	    && grep -qsF " $(CURDIR)/.venv" .venv/pyvenv.cfg; then \
	  echo "setup: .venv is older than pyproject.toml or constraints.txt; renewing it"; \
	else \
	  found=; \
	  for each in $(or $(PYTHON),$(PYTHONS)); do \
	    if $$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      found=$$each; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "setup: no Python 3.11 or newer with venv runs here (tried: $(or $(PYTHON),$(PYTHONS)));" \
	      "install one (Debian: python3 and python3-venv) or name it: make setup PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "setup: building .venv with $$($$found -V) ($$found); the first time takes a minute or two"; \
	  $$found -m venv --clear .venv; \
	fi
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --upgrade pip
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
	  --build-constraint constraints.txt -e . --group dev
	@printf '%s\n' "$(CURDIR)" > $(STAMP)
	@echo "setup: .venv is ready"

.PHONY: test
test: setup  ## Run the whole test suite
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: static
static: setup  ## Check format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

.PHONY: check
check: static test  ## Check everything: static, then the tests

.PHONY: demo
demo: setup  ## A release that is reverted, one that is promoted, and what comes after a revert
	@$(BIN)/python -m examples.demo

.PHONY: bench
bench: setup  ## Measure speed, each figure beside its floor or peer
	@$(BIN)/python -m pytest -m benchmark -s tests || [ $$? -eq 5 ]
	@$(BIN)/python tests/benchmarks/run.py

.PHONY: faults
faults: setup  ## Inject each fault for real, many times, and write docs/faults.md
	@$(BIN)/python tests/faults/run.py

.PHONY: model
model: setup  ## Find every planted bug by the model-based test; STEPS=1000000: so many steps of the real code, MINUTES=20: or as many
	@$(BIN)/python tests/model/run.py $(if $(STEPS),--steps $(STEPS)) $(if $(MINUTES),--minutes $(MINUTES))

CONTROL := moves approving control releasing incidents points ledger retention caps reserving acting triggers judging \
  suspending

.PHONY: coverage
coverage: setup  ## Every branch of the control point, caps and triggers is tried by its own tests, on SQLite alone
	@$(BIN)/python -m coverage run -m pytest -q -k "not postgres" $(CONTROL:%=tests/lastgood/test_%.py)
	@$(BIN)/python -m coverage report

.PHONY: mutation
mutation: setup  ## Change the pure parts of these in one place at a time: their tests notice 90% at least
	@$(BIN)/python tests/mutation/run.py --workers $(or $(WORKERS),1) $(MODULES)

.PHONY: study
study: setup  ## Simulate how often verdicts are right and write docs/study.md (hours; QUICK=1: minutes)
	@$(BIN)/python tests/study/run.py --workers $(or $(WORKERS),2) $(if $(QUICK),--quick)

.PHONY: healthy
healthy: setup  ## Healthy candidates that each peer reverts on the study's streams: docs/peers.md (goes on where it stood)
	@PYTHONPATH=. $(BIN)/python tests/study/healthy.py

.PHONY: support
support: setup  ## Release each bundle of the support agent many times over and write docs/support-agent.md (an hour)
	@$(BIN)/python -m examples.support_agent.measure --workers $(or $(WORKERS),1)

.PHONY: watches
watches: setup  ## Plant causes and see whether the watch names them; write docs/watch.md (an hour; QUICK=1: minutes)
	@$(BIN)/python tests/watches/run.py --workers $(or $(WORKERS),2) $(if $(QUICK),--quick)

.PHONY: planned
planned: setup  ## What a plan says beside what simulated releases do: docs/planning.md (an hour; goes on where it stood)
	@PYTHONPATH=. $(BIN)/python tests/study/planned.py --workers $(or $(WORKERS),2)

.PHONY: interop
interop: setup  ## Real clients: pydantic-evals, promptfoo, OpenFeature in Python and JS, OpenTelemetry, Langfuse, the recipes (installs them; needs npm)
	@$(BIN)/python tests/interop/run.py
	@$(BIN)/python tests/interop/flags.py
	@$(BIN)/python tests/interop/telemetry.py
	@$(BIN)/python tests/interop/readme.py
	@$(BIN)/python tests/interop/scores.py
	@$(BIN)/python tests/interop/recipes.py
	@$(BIN)/python -m pytest -q -m benchmark tests/recipes

.PHONY: test-ui
test-ui: setup  ## Releases in a real browser: Debian's chromium, headless; screenshots in .ui/
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group ui
	@$(BIN)/python -m pytest -m ui tests/ui

.PHONY: reference
reference: setup  ## Write docs/reference from the code: the command line, a policy, an agent's profile
	@$(BIN)/python docs/generate.py

.PHONY: load
load: setup  ## 20 releases at once for 10 minutes, Prefect on Postgres, two workers: docs/prefect.md (MINUTES=1: a try)
	@$(BIN)/python tests/flows/load/run.py $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: soak
soak: setup  ## A week in an hour: the whole under load and faults, every run held to the ledger; docs/soak.md (MINUTES=3: a try)
	@$(BIN)/python tests/soak/run.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(KEEP),--keep $(KEEP))

.PHONY: fuzz
fuzz: setup  ## 100,000 spoilt bodies, and schemathesis over every route with every role's token (installs it)
	@$(BIN)/python tests/fuzz/run.py

.PHONY: clean
clean:  ## Remove .venv, builds and caches; stores of releases stay
	@rm -rf .venv .bench .interop .ui .fuzz .coverage build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
