# make run: train, evaluate, export, serve and play. make test: the whole suite. make scoreboard: hours.
# Each builds .venv first.
PYTHON ?= $(firstword $(shell for p in python3.11 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null \
	&& command -v $$p && break; done))
VENV = .venv
BIN = $(VENV)/bin
# The tools' own environment: TF-Agents pins a typing-extensions that mypy is too new for.
LINT = .venv-lint

.PHONY: run test scoreboard lint format python clean

run: $(VENV)/.installed
	$(BIN)/python examples/repeat_previous.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

scoreboard: $(VENV)/.installed
	$(BIN)/python benchmarks/scoreboard.py

lint: $(LINT)/.installed $(VENV)/.installed
	$(LINT)/bin/ruff check .
	$(LINT)/bin/ruff format --check .
	$(LINT)/bin/mypy --python-executable $(BIN)/python

format: $(LINT)/.installed
	$(LINT)/bin/ruff check --fix .
	$(LINT)/bin/ruff format .

python:
	@"$(or $(PYTHON),false)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' \
	2>/dev/null || { echo "tfmem needs Python 3.10 or 3.11; name it: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python3.11" >&2; exit 1; }

$(VENV)/.installed: setup.cfg pyproject.toml | python
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip check
	touch $@

$(LINT)/.installed: Makefile | python
	"$(PYTHON)" -m venv $(LINT)
	$(LINT)/bin/python -m pip install --quiet --disable-pip-version-check 'ruff~=0.17' 'mypy~=2.4'
	touch $@

clean:
	rm -rf $(VENV) $(LINT) runs
