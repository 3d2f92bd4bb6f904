# Everything sets itself up: `make demo` and `make test` need a Debian machine and nothing else.

VENV := .venv
AUDIT := .venv-audit
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

TEST_PACKAGES := dcmtk dicom3tools orthanc orthanc-dicomweb chromium redis-server postgresql \
	nginx-light default-jre-headless libpixelmed-java prometheus

# What `make train-demo` draws and trains; the tests run it with less.
TRAIN_DEMO ?= train-demo
PHANTOMS ?= 120
HELD_OUT ?= 60
PHANTOM_SIZE ?= 160
INPUT_SIZE ?= 128
EPOCHS ?= 20
FOLDS ?= 3
JOBS ?= $(shell nproc)

.PHONY: help setup setup-train setup-dev demo train-demo test bench soak fuzz bad-input validate screenshots reference conformance docs lint audit format clean

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

setup: $(VENV)/.user  ## make .venv with everything a user needs

setup-train: $(VENV)/.train  ## add what training and evaluation need

setup-dev: $(VENV)/.dev

demo: setup  ## show the whole way on this machine with a phantom head CT
	$(BIN)/ichnode demo

train-demo: setup-train  ## phantoms to a bundle through every step of the training, on the CPU
	@mkdir -p $(TRAIN_DEMO)
	@cd $(TRAIN_DEMO) && PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	PHANTOMS=$(PHANTOMS) HELD_OUT=$(HELD_OUT) PHANTOM_SIZE=$(PHANTOM_SIZE) \
	INPUT_SIZE=$(INPUT_SIZE) EPOCHS=$(EPOCHS) FOLDS=$(FOLDS) JOBS=$(JOBS) \
	sh $(abspath training/demo.sh)

test: setup-dev  ## run every test, against real peers
	@deploy/debian-packages $(TEST_PACKAGES)
	@tests/viewer/get-ohif
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder

bench: setup-dev  ## how fast it is, beside peers and limits, into bench.json (BENCH="--only receive")
	@deploy/debian-packages $(TEST_PACKAGES)
	$(BIN)/python -m tests.bench $(BENCH)

soak: setup-dev  ## 200 faults under load, then count what was lost (SOAK="--seed 7 --minutes 60")
	@deploy/debian-packages $(TEST_PACKAGES)
	$(BIN)/python -m tests.soak $(SOAK)

fuzz: setup-dev  ## 100,000 broken files, associations and requests (FUZZ="--inputs 5000 --seed 7")
	$(BIN)/python -m tests.fuzz $(FUZZ)

bad-input: setup-dev  ## the table of bad input and what becomes of it, into docs/bad-input.md
	$(BIN)/python -m tests.bad_input

validate: setup-dev  ## have every validator look at every object, into docs/validators.md
	@deploy/debian-packages $(TEST_PACKAGES)
	$(BIN)/python -m tests.validators

screenshots: setup-dev  ## phantoms on the web page and in OHIF, into docs/web and docs/viewer
	@deploy/debian-packages $(TEST_PACKAGES)
	$(BIN)/python -m tests.web.gallery docs/web
	@tests/viewer/get-ohif
	$(BIN)/python -m pytest tests/viewer -m "not data" --keep-screenshots docs/viewer

reference: setup-dev  ## the page and the sample of the configuration, from the settings model
	$(BIN)/python -m node.settings

conformance: setup-dev  ## what the DICOM conformance statement has of the code, into docs/conformance.md
	$(BIN)/python -m tests.conformance

docs: setup-dev  ## the documents as a site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: setup-dev  ## ruff, mypy and the contracts between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(AUDIT)/bin/pip-audit  ## look for known faults in what ichnode is made with; asks PyPI
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

format: setup-dev  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was made
	rm -rf $(VENV) $(AUDIT) .viewer ichnode-demo train-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/debian-packages python3 python3-venv
	$(PYTHON) -m venv $(VENV)

# Apart from what it looks at.
$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.9,<3'

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what ichnode needs (PyTorch is large: some minutes)"
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.train: $(VENV)/.user
	$(PIP) install --constraint constraints.txt --editable '.[training]'
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@
