# Everything sets itself up: `make demo` and `make test` need a Debian machine and nothing else.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

TEST_PACKAGES := dcmtk dicom3tools orthanc redis-server postgresql default-jre-headless libpixelmed-java

.PHONY: help setup setup-dev demo test lint format clean

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.user  ## make .venv with everything a user needs

setup-dev: $(VENV)/.dev

demo: setup  ## show the whole way on this machine with a phantom head CT
	$(BIN)/ichnode demo

test: setup-dev  ## run every test, against real peers
	@deploy/debian-packages $(TEST_PACKAGES)
	$(BIN)/python -m pytest

lint: setup-dev  ## ruff, mypy and the contracts between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was made
	rm -rf $(VENV) ichnode-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/debian-packages python3 python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what ichnode needs (PyTorch is large: some minutes)"
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@
