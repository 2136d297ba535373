# `make demo` and `make test` set up all they need in .venv and re-use it while pyproject.toml is unchanged.
PYTHON ?= python3
VENV   ?= .venv
# What the tests install beyond the core; `make test EXTRAS=dev` leaves PyTorch out (its tests then skip, saying so).
EXTRAS ?= dev,train
OUT    ?= demo-out
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint format benchmark clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/edgeface demo --out $(OUT)

test: lint
	$(BIN)/python -m pytest --cov=edgeface --cov-report=term --cov-fail-under=90

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.dev
	$(BIN)/python -m benchmarks.face_cost

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: edgeface needs Python 3.10 or newer, found $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing edgeface into $(VENV) (once)"
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt Makefile | $(VENV)/bin/python
	@echo "installing edgeface[$(EXTRAS)] into $(VENV) (once)"
	$(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.core
