# Everything runs in .venv, which the first target that needs it makes. PYTHON=python3.13 picks the interpreter.
VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10)
FAST := not slow and not gpu and not browser

# For `make train`: folders of portraits, and a table file,person that keeps people apart (optional).
PHOTOS ?= $(wildcard $(addprefix $(or $(CARTOON_SHARED),../shared)/data/portraits/,large small))
PEOPLE ?= $(firstword $(wildcard $(addsuffix /../people.csv,$(PHOTOS))))
MINUTES ?= 60

# For .ci/run: MEASURE="-m coverage run" measures what the fast tests reach; pyproject.toml says of what, and the floor.
MEASURE ?=

.PHONY: help run demo test fast check lint soak bench train lock
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: $(VENV)/app-installed  ## install the app and serve it on http://127.0.0.1:7860 (ARGS="--port 8000 ...")
	$(BIN)/python app.py $(ARGS)

demo: $(VENV)/app-installed  ## draw the example portraits in every style into one sheet
	$(BIN)/python -m benchmarks.demo $(ARGS)

test: fast  ## install what tests need and run all of them: fast, browser, slow
	$(BIN)/python -m pytest -m "not ($(FAST))"

fast: $(VENV)/dev-installed  ## the tests that take seconds, without a browser
	$(BIN)/python $(MEASURE) -m pytest -m "$(FAST)"

check: lint fast  ## ruff, mypy, lint-imports and the fast tests

lint: $(VENV)/dev-installed  ## ruff, mypy, lint-imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

soak: $(VENV)/dev-installed  ## the long runs: kills over 300 and 120 photos, ten thousand photos, the cluster (half an hour)
	$(BIN)/python -m tests.kill --photos 300 --kills 60
	for door in run serve service; do $(BIN)/python -m tests.kill --early $$door --photos 120 --kills 40 || exit 1; done
	$(BIN)/python -m tests.soak --count 10000
	$(BIN)/python -m pytest -m slow tests/jobs/test_soak.py tests/jobs/executors/test_cluster.py

bench: $(VENV)/app-installed  ## time one photo step by step, at 512, 1024 and 2048 px
	$(BIN)/python -m benchmarks.latency $(ARGS)

train: $(VENV)/dev-installed  ## PHOTOS -> weights in runs/cartoon.safetensors, curves, evaluation; MINUTES=60; resumes
	$(BIN)/python -m training.prepare $(PHOTOS) --out runs/prepared
	$(BIN)/python -m training.distil --prepared runs/prepared $(addprefix --people ,$(PEOPLE)) \
	    --out runs/cartoon.safetensors --time-limit $(MINUTES) $(ARGS)
	$(BIN)/python -m training.curves runs/distil/log.csv --out runs/curves.png
	$(BIN)/python -m training.evaluate $(PHOTOS) --plan runs/distil/plan.json --weights runs/cartoon.safetensors

lock: $(VENV)/dev-installed  ## requirements*.txt -> the locks, with hashes, for every Python (ARGS=--upgrade: newest)
	$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	$(LOCK) requirements.txt --constraint requirements-dev.lock --output-file requirements.lock

# What is not pinned in requirements*.txt stays as it is in the locks, where it can. The app's lock is a part of the other.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)
INSTALL := $(BIN)/pip install --disable-pip-version-check --require-hashes -r

# Stamps: a second run installs nothing, a changed lock installs again.
$(VENV)/app-installed: requirements.lock | $(BIN)/pip
	@echo "Installing the app into $(VENV): about 3 minutes and 6 GB, once."
	$(INSTALL) requirements.lock
	@touch $@

$(VENV)/dev-installed: requirements-dev.lock | $(BIN)/pip
	@echo "Installing the app and its tests into $(VENV): about 3 minutes and 6 GB, once."
	$(INSTALL) requirements-dev.lock
	@touch $@

# pip is the last thing that venv puts in place, so a half-made environment is made again.
$(BIN)/pip:
	@for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' \
	        2>/dev/null; then exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "error: no Python from 3.10 to 3.14 with venv among: $(CANDIDATES)." \
	    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3." >&2; \
	exit 1
