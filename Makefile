# Where Locality Comes From. Each command is one line; `make book` sets up all it needs.
# Conda users: create and activate environment.yml, then VENV=$CONDA_PREFIX make book

VENV ?= .venv
PYTHON ?= python3
PROFILE ?= laptop
PORT ?= 8000
UV = uv==0.13.9
PY = $(VENV)/bin/python
READY = $(VENV)/.book-ready
HAS_PIP = $(PY) -m pip --version >/dev/null 2>&1
TOO_OLD = import sys; sys.exit(sys.version_info < (3, 11) and "This book needs Python 3.11 or newer. Choose one: make book PYTHON=python3.12")
LINTED = $(wildcard src tests workflow benchmarks book/_ext)

.PHONY: book serve pdf lab student instructor homework grade slides test check lint release clean
.DEFAULT_GOAL := book

book: $(READY) ; @$(PY) workflow/build.py --profile $(PROFILE)

serve: book ; @$(PY) workflow/serve.py $(PORT)

lab: PORT = 8888
lab: $(READY) ; @$(PY) workflow/lab.py --profile $(PROFILE) --port $(PORT) $(LAB)

student: book ; @$(PY) workflow/assemble.py --profile $(PROFILE) --edition student

instructor: book ; @$(PY) workflow/assemble.py --profile $(PROFILE) --edition instructor

homework: book ; @$(PY) workflow/homework.py

grade: $(READY) ; @$(PY) workflow/grade.py "$(SUBMISSIONS)" "$(CHAPTER)" $(GRADE)

slides: book ; @$(PY) workflow/decks.py

pdf: book ; @$(PY) workflow/print.py

test: book ; $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=40

check: $(READY) ; @$(PY) workflow/check.py --profile $(PROFILE)

lint: $(READY) ; $(PY) -m ruff check $(LINTED) && $(PY) -m ruff format --check $(LINTED)

release: book ; @$(PY) workflow/figures.py && $(PY) workflow/release.py

clean: ; rm -rf _build .snakemake .pytest_cache .ruff_cache

# The locked environment: a venv, uv in it, every package by its hash, our library.
# Compiled at once: where Python may not write what it compiles, each start would take
# seconds more. An interrupted set-up is completed by the next call.
$(READY): requirements.lock pyproject.toml
	@$(HAS_PIP) || $(PYTHON) -c '$(TOO_OLD)'
	@$(HAS_PIP) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@$(PY) workflow/warm_up.py
	@touch $@
