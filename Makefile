# make        says what there is
# make run    sets everything up and trains PlaNet on walker_walk from pixels
# make test   sets everything up and runs the tests: of each family one member in full, about 10 minutes on 2 cores
#             test-all runs every member, with XLA's own fusions, before a version is tagged
#             test-fast runs the packages below agents, in 2 minutes
# make lint   ruff and mypy
# make docs   builds the site into site/, and fails on a broken link or an unknown name
# make smoke  builds the wheel and uses it from an empty folder, in an environment of its own
# make bench  measures planning, updates, rendering and the loop, and rewrites their tables
# make soak   kills runs at random moments, and compares them with undisturbed ones; takes an hour, and is in no other target
# make doctor what works on this machine, and what to do about what does not
# make clean  removes the environment; runs/ stays
# Choices: make run ENV=cartpole_swingup ARGS="--seed 1"; make test ARGS="tests/losses"; make bench EXTRAS="--extra peer"
ENV ?= walker_walk
ARGS ?=
export EXTRAS ?=
PYTHON := .venv/bin/python

.PHONY: help run test test-all test-fast lint docs smoke bench soak setup doctor clean

help:
	@sed -n 's/^# //p' Makefile

run: setup
	@$(PYTHON) experiments/run.py --env $(ENV) $(ARGS)

test: setup
	$(PYTHON) -m pytest $(ARGS)

test-all: setup
	XLA_FLAGS= $(PYTHON) -m pytest -m "" $(ARGS)

test-fast: setup
	$(PYTHON) -m pytest -m quick $(ARGS)

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

docs: override EXTRAS += --group docs
docs: setup
	@sh scripts/docs.sh

smoke: setup
	@sh scripts/smoke.sh

bench: setup
	@$(PYTHON) benchmarks/all.py $(ARGS)

soak: setup
	@$(PYTHON) benchmarks/soak.py $(ARGS)

doctor: setup
	@$(PYTHON) experiments/doctor.py

setup:
	@sh scripts/setup.sh

clean:
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .cache site docs/results
