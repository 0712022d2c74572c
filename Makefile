# Needs python3 (3.11 or later, with venv) and make; everything else is installed into .venv from requirements.lock.
#
#   make run     the 2022 experiment, into results/mail-2022 (ARGS="--boots 200" for a quick look)
#   make test    all tests                    (ARGS="-k store" for some of them)
#   make test-bounds, test-plain   tests with every index checked; some of them without the compiler
#   make test-fallback   boots under kernels compiled by public Numba alone (some minutes)
#   make test-oldest, test-newest   some tests with the oldest and the newest packages that pyproject.toml allows
#   make fuzz    damaged and hostile inputs for every reader  (INPUTS=1000000 for a night, ARGS="--target program")
#   make faults  kills, full disks, damaged files              (KILLS=200 for a night, ARGS="--only disk_full")
#   make lint    ruff and mypy
#   make bench   how fast it is, beside C twins (needs a C compiler; ARGS="--only buddy", "--gate")
#   make docs    the pages of docs/ as a site, build/docs/index.html, with what commands print (about a minute)
#
# What the pages in docs/ and the README show, made again:
#   make readme           table and picture of the README (runs what make run has not run yet)
#   make fidelity         docs/fidelity.md    (VECTORS="..." RECORDINGS="..." for more than is in tests/data)
#   make validation       docs/validation.md and results/predictions/N.csv
#   make results          docs/results/
#   make explain          docs/explain.md
#   make performance      docs/performance.md (what mcsim check speed prints; best on an idle machine)
#   make sameness         docs/sameness.md    (every way to run, and ten kills; some minutes)
#   make robustness       docs/robustness.md  (what make fuzz and make faults print)
#
#   make lock    choose the newest versions and write requirements.lock and docs/requirements.lock
#   make clean   remove .venv, caches and builds; results stay

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

INPUTS ?= 20000
KILLS ?= 10

.PHONY: run test test-bounds test-plain test-fallback test-oldest test-newest fuzz faults lint bench format readme fidelity validation results explain performance sameness robustness docs wheel lock clean

run: .venv/.installed
	$(BIN)/mcsim run mail-2022 $(ARGS)

# As many at a time as there are processors; the tests of one file stay together, files in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: .venv/.installed
	$(PYTEST) $(ARGS)

# Numba reads outside of an array without a word; this runs all tests that run kernels with every index checked.
test-bounds: .venv/.installed
	NUMBA_BOUNDSCHECK=1 $(PYTEST) -m "not without_kernels" $(ARGS)

# What the compiler makes of a kernel is what its Python says: the quick ones of these tests once more without it.
test-plain: .venv/.installed
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m compact $(ARGS)

# What kernels do where Numba has not what kernels/jit/private.py takes of it.
test-fallback: .venv/.installed
	MCSIM_PLAIN_NUMBA=1 $(BIN)/python -m pytest tests/test_fallback.py $(ARGS)

# Each in an environment of its own: random numbers, compiler, boots, tables and store, with the oldest numba, numpy and
# polars that pyproject.toml allows, and with the newest.
SOME_TESTS := tests/test_rng.py tests/test_compile.py tests/test_mail_2022.py tests/test_merge.py
LOWEST := import re, tomllib; needs = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
  print(*(re.sub(">=([0-9.]+).*", r"==\1", each) for each in needs if re.match("numba|numpy|polars", each)))
test-oldest: RELEASES = $(shell $(PYTHON) -c '$(LOWEST)')
test-newest: RELEASES = numba numpy polars
test-oldest test-newest:
	$(PYTHON) -m venv --clear build/$@
	build/$@/bin/python -m pip install --quiet --disable-pip-version-check . $(RELEASES) 'pytest>=8.2' 'hypothesis>=6.100'
	@build/$@/bin/python -m pip list --disable-pip-version-check | grep -E '^(numba|llvmlite|numpy|polars|scipy) '
	build/$@/bin/python -m pytest -p no:cacheprovider $(SOME_TESTS) $(ARGS)

# Findings lie in build/fuzz: a folder each, with the input, what it did, and how to have it again (docs/robustness.md).
fuzz: .venv/.installed
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(ARGS)

faults: .venv/.installed
	$(BIN)/python -m tests.faults --kills $(KILLS) $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/.installed
	$(BIN)/mcsim check speed $(ARGS)

format: .venv/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

readme: run
	$(BIN)/python -m docs.fill readme

VECTORS ?= tests/data/*.jsonl.gz
RECORDINGS ?= tests/data/recordings/*.npz

fidelity: .venv/.installed
	@$(BIN)/python -m docs.fill fidelity vectors="$(wildcard $(VECTORS))" recordings="$(wildcard $(RECORDINGS))"

validation: .venv/.installed
	$(BIN)/mcsim check model --predict N
	$(BIN)/python -m docs.fill validation

results: .venv/.installed
	$(BIN)/python -m docs.results.non_monotonic
	$(BIN)/python -m docs.results.linux_6_6
	$(BIN)/python -m docs.results.mail_2022
	$(BIN)/python -m docs.results.timing
	$(BIN)/python -m docs.results.sensitivity
	$(BIN)/python -m docs.results.rare

explain: .venv/.installed
	$(BIN)/python -m docs.fill explain

performance: .venv/.installed
	$(BIN)/python -m docs.fill performance

sameness: .venv/.installed
	$(BIN)/python -m docs.fill sameness

robustness: .venv/.installed
	$(BIN)/python -m docs.fill robustness inputs=$(INPUTS) kills=$(KILLS)

# -E: commands are run anew each time. A warning ends it, but not before all of them are printed.
docs: .venv/.installed .venv/.docs
	$(BIN)/sphinx-build -E -n -W --keep-going -q $(ARGS) docs build/docs
	@echo "written: build/docs/index.html"

wheel: .venv/.installed
	$(BIN)/python -m build --wheel --no-isolation

# Two stamps: a changed lock makes .venv anew, a changed pyproject.toml installs only the project again.
.venv/.packages: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mcsim needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/.installed: .venv/.packages pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What only `make docs` needs, in versions that agree with requirements.lock.
.venv/.docs: .venv/.packages docs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

lock: .venv/.packages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --extra dask --group dev --group build --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make lock" \
	  -o requirements.lock
	$(BIN)/uv pip compile --group docs --constraint requirements.lock --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make lock" \
	  -o docs/requirements.lock

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find mcsim kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
