# A new user's two commands are `make demo` and `make test`. `make help` lists the others and the variables.

PYTHON ?= python3
CUDA ?=
VENV ?= $(if $(CUDA),.venv-cuda,.venv)
# PyTorch's own index of CPU builds: on Linux, PyPI has the CUDA build only, which is some gigabytes larger. It is asked
# for torch alone. Where it can't be reached (or TORCH_INDEX is empty) torch comes from wherever pip looks anyway.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
DEMO ?= demo
JOBS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip
# The stamps are made after an installation succeeded and are older than these files when it is out of date.
RUN = $(VENV)/.emoviews-run
DEV = $(VENV)/.emoviews-dev
CPU_INDEX = $(if $(CUDA),,$(TORCH_INDEX))
CONSTRAINT = $(if $(CUDA),,--constraint constraints-cpu.txt)

CAN_INSTALL = import sys; sys.exit(0 if sys.version_info >= (3, 11) else "EmoViews needs Python 3.11 or later; $(PYTHON) is " \
	+ sys.version.split()[0] + ". Name another one: make $(MAKECMDGOALS) PYTHON=python3.12")
CAN_REACH = import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=10)

.PHONY: demo test lint bench docs clean help

demo: $(RUN) ## the whole main job on a built-in synthetic corpus; opens with DEMO/run/report.html
	$(BIN)/emoviews demo --out $(DEMO)

# One thread for each of the JOBS processes; more would wait for each other.
test: $(DEV) lint ## the linters, the type checker, all tests and doctests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(DEV) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV) ## speed and memory, each against a plain reference, into benchmarks/RESULTS.md
	$(PIP) install --quiet $(CONSTRAINT) --group bench
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

docs: $(DEV) ## the documentation site, into site/
	$(PIP) install --quiet $(CONSTRAINT) --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove the environments and what the tools leave behind (not the demo)
	rm -rf .venv .venv-cuda .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18
	@echo
	@echo "Variables, e.g. make demo PYTHON=python3.12:"
	@echo "  PYTHON       the Python the environment is made with, 3.11 or later (now: $(PYTHON))"
	@echo "  VENV         the environment's folder (now: $(VENV))"
	@echo "  CUDA=1       torch for CUDA, in an environment of its own"
	@echo "  TORCH_INDEX  where CPU builds of torch come from; empty: pip's own index"
	@echo "  DEMO         the folder that make demo writes (now: $(DEMO))"
	@echo "  JOBS         test processes (now: $(JOBS))"
	@echo "  BENCH_ARGS   arguments for the benchmarks, e.g. '--recordings FOLDER --only store losses'"
	@echo "  PYTEST_ARGS  further arguments for pytest, e.g. '-k store' or '-m slow'"

$(RUN): pyproject.toml constraints-cpu.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). EmoViews needs Python 3.11 or later." >&2; exit 1; }
	@$(PYTHON) -c '$(CAN_INSTALL)'
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
ifneq ($(CPU_INDEX),)
	@if $(BIN)/python -c '$(CAN_REACH)' '$(CPU_INDEX)' >/dev/null 2>&1; \
	then $(PIP) install $(CONSTRAINT) --extra-index-url '$(CPU_INDEX)' torch; \
	else echo "$(CPU_INDEX) can't be reached: torch comes from pip's own index (on Linux perhaps the larger CUDA build)."; fi
endif
	$(PIP) install $(CONSTRAINT) --editable '.[egemaps]'
	@touch $@

$(DEV): $(RUN)
	$(PIP) install $(CONSTRAINT) --editable '.[egemaps,video,audformat,app,onnx]' --group dev
	@touch $@
