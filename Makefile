# `make demo` and `make test` need only Python 3.11 or later. Each makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-fast test-long gpu lint format clean
help:
	@echo "make demo    the whole system on a synthetic cohort, under five minutes on two cores after set-up"
	@echo "make test       lint and tests"
	@echo "make test-fast  lint and the tests that need no Ray, some minutes"
	@echo "make test-long  the tests that take minutes each: random kills, clusters that end by themselves"
	@echo "make gpu     what needs a GPU, into gpu/; tiny sizes without one"
	@echo "make format  format the code"

# A stamp, so that an interrupted installation is taken up again and a changed setup.py installs anew.
$(VENV)/.installed: setup.py constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "wsc-ray needs Python 3.11 or later; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,dev,bench]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/wsc-ray demo

# Two files side by side: most of a test's time is processes that start. tests/conftest.py orders them.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not long"

gpu: $(VENV)/.installed
	PYTHON=$(BIN)/python benchmarks/gpu.sh --out gpu

# What starts neither Ray nor a benchmark.
test-fast: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not ray and not cluster and not slow"

# What waits for minutes: more than fits beside everything else.
test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -m long

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
