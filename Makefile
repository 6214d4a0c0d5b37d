# Two commands: `make paper` runs everything, `make test` checks it. Both set up .venv first.
PROFILE ?= toy
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
SET ?=
PYTHON ?= python3
PY := .venv/bin/python
LCE := $(PY) -m lcelib.cli
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=600 --nbval-kernel-startup-timeout=180 \
  --nbval-sanitize-with tests/sanitize.cfg
export TQDM_DISABLE := 1
export PYTHONNOUSERSITE := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: paper publish test notebooks book assignments app browser faults slurm bench lint format lab clean

paper: .venv/ready
	@$(LCE) run --profile $(PROFILE) --cores $(CORES) $(foreach x,$(SET),--set $(x))

publish: .venv/ready  # the maintainer's: the results of `make paper` become what is published
	@$(LCE) stage publish --profile $(PROFILE)

test: .venv/ready lint
	@$(LCE) run --until first_seed --cores $(CORES)
	@$(PY) -m pytest -n $(CORES) tests
	@$(MAKE) --no-print-directory notebooks

notebooks: .venv/ready
	@$(LCE) run --until first_seed --cores $(CORES)
	@$(PY) -m pytest -n $(CORES) --dist loadfile $(NBVAL) notebooks/[0-9]*.ipynb

book: .venv/ready
	@$(PY) docs/house.py
	@$(PY) docs/book.py build/book build/site
	@$(PY) docs/links.py build/site

assignments: .venv/ready
	@echo "Writing the students' notebooks (about a minute) …"
	@cd notebooks/exercises && for name in source/*/; do \
	  ../../$(PY) -m nbgrader generate_assignment "$$(basename $$name)" --create --force --log-level=WARN || exit 1; done
	@echo "The students' notebooks are in notebooks/exercises/release; see docs/teaching.md."

app: .venv/ready
	@$(PY) -m voila notebooks/app.ipynb

browser: .venv/ready book
	@$(LCE) run --until first_seed --cores $(CORES)
	@$(PY) -m pytest -m browser tests

faults: .venv/ready
	@$(LCE) run --until first_seed --cores $(CORES)
	@$(PY) -m pytest -n $(CORES) -m "faults or slow" --outcome-of-faults build/faults.json tests
	@PYTHONPATH=. $(PY) tests/reliability.py

slurm: .venv/ready
	@$(PY) -m pytest -m slurm tests

bench: .venv/ready
	@$(PY) -m benchmarks

lint: .venv/ready
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: .venv/ready
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

lab: .venv/ready
	@$(PY) -m jupyterlab notebooks

clean:
	rm -rf .venv results .snakemake build

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
