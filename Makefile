# make demo    train, register, evaluate and compare on synthetic chest X-rays
# make test    run the test suite             (make test PYTEST_ARGS="tests/layers -x")
# make lint    ruff, mypy and import-linter
# make docs    build the documentation, run its examples and fail on warnings; its first page is docs/_build/html/index.html
# make bench   measure against other programs, write docs/performance.md   (make bench BENCH_ARGS="warp --quick")
# make locks   fix the container's packages anew (docker/*.lock)
# make clean   remove the environment, builds and caches
#
# The first call makes .venv with the first Python from 3.10 to 3.13 that runs (make PYTHON=/path/to/python3 to choose)
# and installs acreg there. Stamp files remember it: later calls install nothing and need no network.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
PYTEST_ARGS ?=
BENCH_ARGS ?= --page docs/performance.md
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3.10 python3
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
# An environment of one's own is meant, whatever the shell has set.
export PIP_USER := 0
unexport PYTHONHOME

.PHONY: demo test lint docs bench locks clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed
	$(BIN)/acreg demo --out runs/demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# For the Python of the Dockerfile. On a CPU the wheel without CUDA does the same in less space; `acreg doctor` knows it.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate \
    --python-version 3.13 --python-platform x86_64-manylinux_2_28
locks: $(VENV)/.created
	$(PIP_INSTALL) uv
	echo setuptools | $(LOCK) - -o docker/build.lock
	echo tensorflow-cpu | $(LOCK) setup.cfg - -c docker/build.lock --no-emit-package tensorflow -o docker/cpu.lock
	$(LOCK) setup.cfg --extra gpu -c docker/build.lock -o docker/gpu.lock

$(VENV)/.created:
	@for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	        >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$python ($$("$$python" --version 2>&1))"; \
	        "$$python" -m venv --clear $(VENV) || exit 1; \
	        touch $@; \
	        exit 0; \
	    fi; \
	done; \
	echo "acreg needs Python 3.10, 3.11, 3.12 or 3.13 with its venv module. Tried: $(strip $(CANDIDATES)); none of" \
	     "these is there, runs and is in range. Install one (on Debian and Ubuntu with its python3-venv package)" \
	     "or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.created setup.cfg setup.py
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created setup.cfg setup.py Makefile
	$(PIP_INSTALL) -e '.[dev,scale]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(VENV)/.created setup.cfg setup.py
	$(PIP_INSTALL) -e '.[bench,baselines]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/gallery docs/reference/generated *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
