# The verbs of this project. `make` alone explains them. Needs make and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
CODE := functions layers/shared layers/dataset local tests
IMPORTS := PYTHONPATH=.:layers/shared:layers/dataset
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-deps --require-hashes

# As they were typed: make would take a dollar sign for its own.
override SQL := $(value SQL)
override VONAGE_API_SECRET := $(value VONAGE_API_SECRET)
export SQL VONAGE_API_SECRET

# What tests must never see: the real accounts of the person who runs them.
NO_ACCOUNTS := env $(foreach name,$(filter AWS_% VONAGE_%,$(.VARIABLES)),-u $(name)) SAM_CLI_TELEMETRY=0

# A shim of pyenv may be on PATH and still not run.
FIND_PYTHON313 := for python in python3.13 "$$HOME"/.pyenv/versions/3.13*/bin/python3.13; do \
	"$$python" -c '' 2>/dev/null && break; done

# One more than cores: the end-to-end tests wait much of their time, for the pace that Vonage sets.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.DEFAULT_GOAL := help
.PHONY: help run status query test check fmt bench fuzz chaos lock audit clean sam

help:
	@echo 'make run    the whole stack on this machine: emulator, simulator, reports into out/'
	@echo '            VONAGE_API_KEY= VONAGE_API_SECRET=   ask the real API: it bills, so the plan is shown first'
	@echo '            VONAGE_BASE_URL=   another server    CONFIRM=yes   do not ask'
	@echo '            EVENT=events/backfill.json   another event; events/dry_run.json only tells'
	@echo '            DEFINITIONS=file.json   other report definitions'
	@echo '            SCHEDULED_TIME=2026-11-22T02:15:00Z   WAIT_SCALE=0.01 (0 to 1)'
	@echo 'make status what is delivered, under way, missing and why, as of the last make run'
	@echo '            STACK=name   of a stack on AWS (AWS_PROFILE, AWS_DEFAULT_REGION)   JSON=1   for scripts'
	@echo 'make query  ask out/ with SQL: SQL="SELECT ..."   FILE=x.sql   CSV=file.csv   STACK=name (of a deployed stack)'
	@echo '            NAMED=billing        SINCE=2026-11-01 UNTIL=2026-12-01 PERIOD=day MARK_UP=0.15 ACCOUNT_CURRENCY=EUR'
	@echo '            NAMED=reconciliation INVOICE=file.csv   NAMED=customers'
	@echo 'make test   everything that can be checked: style, types, all tests'
	@echo 'make check  style, types and security, without running anything'
	@echo 'make fmt    bring the code into shape'
	@echo 'make bench  measure: memory, speed and cold start; 10 minutes'
	@echo '            PART=store (or coldstart, convert, ledger)   SIZES="100 1000" (MB)   RUNS=5'
	@echo '            SETTINGS="open lambda"   VARIANTS="limit upload_fileobj ours"'
	@echo 'make fuzz   look for an archive that breaks the proof: SECONDS=60'
	@echo 'make audit  look the locked dependencies up among the known vulnerabilities, at PyPI'
	@echo 'make chaos  a week of faults on every boundary, in virtual time, SEEDS=200 times: 15 minutes'
	@echo '            SEED=123   that one again   FIRST=201   from that one on   TRACE=1   every call'
	@echo 'make lock   lock the dependencies of pyproject.toml again'
	@echo 'make clean  remove what was made; .local/ stays: it knows what was paid for'

# exec: a signal to make has to reach the run, which stops what it started.
run: .venv/installed-local
	@exec env $(IMPORTS) $(BIN)/python -m local.run

status: .venv/installed-local
	@exec env $(IMPORTS) $(BIN)/python -m local.status

query: .venv/installed-local
	@env $(IMPORTS) $(BIN)/python -m local.sql

test: check sam
	$(NO_ACCOUNTS) $(BIN)/pytest -n $(WORKERS) --dist loadscope

check: .venv/installed-dev .venv-security/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive functions layers
	$(BIN)/cfn-lint template.yaml
	$(NO_ACCOUNTS) .venv-security/bin/checkov --config-file .checkov.yaml

LOCKED := $(wildcard requirements/*.txt layers/*/requirements.txt functions/*/requirements.txt)
audit: .venv-security/installed
	.venv-security/bin/pip-audit --strict --disable-pip --require-hashes $(addprefix -r ,$(LOCKED))

fmt: .venv/installed-dev
	$(IMPORTS) $(BIN)/python -m local.generate_template
	$(IMPORTS) $(BIN)/python -m local.generate_docs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev .venv/installed-bench
	$(NO_ACCOUNTS) $(IMPORTS) $(BIN)/python -m tests.benchmarks

fuzz: .venv/installed-dev .venv/installed-fuzz
	$(NO_ACCOUNTS) $(IMPORTS) $(BIN)/python -m tests.fuzz

chaos: .venv/installed-dev
	@$(NO_ACCOUNTS) $(IMPORTS) $(BIN)/python -m tests.chaos

# The SAM CLI is of use only where it finds the functions' own Python.
sam:
	@if $(FIND_PYTHON313); then $(MAKE) --no-print-directory .venv-sam/installed; \
	else echo 'python3.13 is neither on PATH nor under pyenv: sam build is not tested'; fi

lock: .venv-lock/installed
	.venv-lock/bin/uv pip compile $(LOCK) --group dev -o requirements/dev.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group local -c requirements/dev.txt -o requirements/local.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group layer-shared -c requirements/dev.txt -o layers/shared/requirements.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group layer-dataset -c requirements/dev.txt -o layers/dataset/requirements.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group function-submit-reports -c requirements/dev.txt -o functions/submit_reports/requirements.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group bench -c requirements/dev.txt -o requirements/bench.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group sam -o requirements/sam.txt
	.venv-lock/bin/uv pip compile $(LOCK) --group security -o requirements/security.txt
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-strip-extras

clean:
	rm -rf .venv .venv-sam .venv-security .venv-lock .aws-sam out tests/node_modules .local/run-* .local/last-run.json
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find functions layers local tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-local .venv/installed-dev .venv/installed-bench .venv/installed-fuzz: .venv/installed-%: requirements/%.txt .venv/bin/python
	@echo 'installing $< into .venv' >&2
	@$(BIN)/python -m $(PIP_INSTALL) -r $< >&2
	@touch $@

.venv-sam/installed .venv-security/installed: .venv-%/installed: requirements/%.txt .venv-%/bin/python
	@echo 'installing $< into $(@D)' >&2
	@$(@D)/bin/python -m $(PIP_INSTALL) -r $< >&2
	@touch $@

.venv-lock/installed: pyproject.toml .venv-lock/bin/python
	.venv-lock/bin/python -m pip install --quiet --upgrade pip
	.venv-lock/bin/python -m pip install --quiet --group lock
	@touch $@

.venv/bin/python .venv-sam/bin/python .venv-security/bin/python .venv-lock/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	echo '$(PYTHON) is not there: name a Python, as in make run PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo '$(PYTHON) is not Python 3.11 or newer: name one, as in make run PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); \
	echo '$(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
