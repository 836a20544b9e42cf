# What a newcomer needs, in order. Everything is installed into .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop

# Where the environment forbids it to keep bytecode, every process would compile all that it imports anew: 10 s each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types unit test-full-size test-faults test-install test-lowest bench docs format \
	lock locked licences clean

demo: $(READY)  ## draw a synthetic world, train on it with and without joining the cameras, compare (minutes)
	$(BIN)/ccafl demo --out runs/demo

test: lint types unit  ## what must pass before a change is merged

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEVELOP)
	$(BIN)/mypy

unit: $(DEVELOP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

test-full-size: $(DEVELOP)  ## a step of each phase with RN50 at 256x128, 16 x 8 images: takes minutes and about 12 GB
	$(BIN)/pytest -m full_size

test-faults: $(DEVELOP)  ## faults and hostile input at length (docs/reliability.md); prints what was tried and survived
	OMP_NUM_THREADS=1 $(BIN)/pytest -m faults -n auto --dist loadfile

test-install: $(DEVELOP)  ## the wheel, installed into an empty environment, works outside of this folder; downloads PyTorch
	$(BIN)/pytest -m install -s

test-lowest:  ## with the oldest versions of the direct dependencies that pyproject.toml allows (needs uv)
	rm -rf .venv-lowest && uv venv --quiet .venv-lowest
	uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable ".[report,search,export,timm]" \
		pytest hypothesis $(if $(OVERRIDE),--override $(OVERRIDE))
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest tests/data tests/test_api.py tests/test_config.py tests/gallery tests/report

bench: $(DEVELOP)  ## how fast the work around the backbone is (docs/performance.md); OPPONENTS=FOLDER compares with other projects
	$(BIN)/python -m benchmarks $(if $(OPPONENTS),--opponents $(OPPONENTS)) --out runs/bench.json

# The variable keeps Material from printing news.
docs: $(READY)  ## the documentation's site, into site/: links checked, nothing loaded from the internet
	$(INSTALL) --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## renew requirements.lock from pyproject.toml and constraints.txt: all packages of the tests, with hashes (needs uv)
	echo '--editable .' | $(LOCK) --group pyproject.toml:dev --universal --no-emit-package ccafl > requirements.lock
	echo trackeval | $(LOCK) --no-deps >> requirements.lock

LOCK = uv pip compile - --constraint constraints.txt --generate-hashes --python-version 3.11 --no-annotate --no-header \
	--quiet --default-index https://pypi.org/simple

# Before make test, which then installs nothing. The lock names PyPI's files only.
locked:  ## install what the tests need from requirements.lock: each file is refused if its hash is another
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --no-build-isolation --editable .
	touch $(READY) $(DEVELOP)

licences: $(DEVELOP)  ## docs/licences.md: the licence of everything that the tests install; fails where one is GPL or AGPL
	$(BIN)/python docs/licences.py > docs/licences.md.new
	mv docs/licences.md.new docs/licences.md

clean:
	rm -rf $(VENV) .venv-lowest site .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --no-compile halves the time: Python compiles what is imported, when it first is.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("ccafl needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(INSTALL) --editable .
	touch $(READY)

# What tests and benchmarks need beside. TrackEval comes without what it depends on: it would put OpenCV's build for
# desktops, which needs a display's libraries, over the one that does not.
$(DEVELOP): $(READY)
	$(INSTALL) --editable . --group dev
	$(INSTALL) --no-deps trackeval
	touch $(DEVELOP)
