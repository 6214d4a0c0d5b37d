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

.PHONY: paper publish test notebooks book assignments app browser faults slurm bench lint format lab lock clean

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
	@$(PY) -m mypy

format: .venv/ready
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

lab: .venv/ready
	@$(PY) -m jupyterlab notebooks

clean:
	rm -rf .venv results .snakemake build

PIP := $(PY) -m pip install --quiet --disable-pip-version-check

# torch comes by its pin alone, before the lock: its builds for CPUs and for GPUs have one version,
# different files and different dependencies, and hashes of a lock would allow one of them only.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) $$(grep ^torch== requirements.txt)
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

# Pins with hashes for every platform and Python that the package names; torch's own needs are listed.
lock: | .venv/ready
	@$(PIP) uv==0.13.9
	@mkdir -p build
	@echo "torch; python_version < '3'" >build/without_torch.txt
	@printf '%s\n' filelock fsspec jinja2 networkx setuptools sympy typing-extensions >build/torch.txt
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-strip-extras \
	  --overrides build/without_torch.txt --output-file requirements.lock \
	  --custom-compile-command "make lock (torch is installed before, by its pin: see the Makefile)" \
	  requirements.txt build/torch.txt
