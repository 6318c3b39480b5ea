# The commands of this project. `make` without a target lists them.
# Needs make and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
CODE := functions layers/shared layers/dataset cli local tests
IMPORTS := PYTHONPATH=.:cli:layers/shared:layers/dataset
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-deps --require-hashes
# Puts `vonage-reports` into .venv/bin. The locked requirements have everything that it needs.
PIP_EDITABLE := pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .

# Pass these values on unchanged. By default, make would expand their dollar signs.
override VONAGE_API_SECRET := $(value VONAGE_API_SECRET)
export VONAGE_API_SECRET

# Tests must never see the developer's real accounts.
NO_ACCOUNTS := env $(foreach name,$(filter AWS_% VONAGE_%,$(.VARIABLES)),-u $(name)) SAM_CLI_TELEMETRY=0

# Try each candidate, because python3.13 on PATH may be a shim of pyenv that fails.
FIND_PYTHON313 := for python in python3.13 "$$HOME"/.pyenv/versions/3.13*/bin/python3.13; do \
	"$$python" -c '' 2>/dev/null && break; done

# Two workers more than cores, because end-to-end tests spend half of their time waiting.
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell echo $$(($(CORES) + 2)))
# Keep the order of collection, in which the long end-to-end modules start first.
PYTEST := $(NO_ACCOUNTS) $(BIN)/pytest --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
COMMANDS := help run unit quick test check fmt chaos fuzz bench audit licences lock clean sam
.PHONY: $(COMMANDS)

# Refuse a mistyped command or variable, instead of running something else. A variable of the
# environment is never refused, because it may be meant for another program.
run_KNOWS := VONAGE_API_KEY VONAGE_API_SECRET VONAGE_BASE_URL CONFIRM EVENT DEFINITIONS \
	SCHEDULED_TIME WAIT_SCALE KEYS
quick_KNOWS := WORKERS
test_KNOWS := WORKERS
chaos_KNOWS := SEEDS SEED FIRST TRACE
fuzz_KNOWS := SECONDS
bench_KNOWS := PART SIZES RUNS SETTINGS VARIANTS

GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
# Files, such as .venv/bin/python, are targets of their own.
NAMED := $(strip $(foreach goal,$(MAKECMDGOALS),$(if $(or $(findstring /,$(goal)),$(findstring .,$(goal))),,$(goal))))
UNKNOWN := $(firstword $(filter-out $(COMMANDS),$(NAMED)))
ifneq (,$(filter status query,$(UNKNOWN)))
$(error make $(UNKNOWN) is now .venv/bin/vonage-reports --local $(UNKNOWN), with --stack NAME for a stack on AWS)
endif
ifdef UNKNOWN
$(error make has no command $(UNKNOWN). make help lists the commands)
endif
ifneq (,$(and $(filter help,$(NAMED)),$(filter-out help,$(NAMED))))
$(error make help describes every command. Start it alone)
endif
ifdef NAMED
KNOWN := $(foreach goal,$(NAMED),$($(goal)_KNOWS)) PYTHON
UNKNOWN := $(firstword $(filter-out $(KNOWN) SHELL,$(GIVEN)))
ifdef UNKNOWN
$(error make $(NAMED) has no variable $(UNKNOWN). Its variables are $(KNOWN))
endif
endif

help:
	@echo 'make run    Run the whole stack on this machine: emulator, simulator, reports in out/.'
	@echo '            VONAGE_API_KEY= VONAGE_API_SECRET=   ask for a confirmation, then use the real API, which bills'
	@echo '            VONAGE_BASE_URL=   use another server       CONFIRM=yes   skip the confirmation'
	@echo '            EVENT=events/backfill.json   send another event; events/dry_run.json requests nothing'
	@echo '            DEFINITIONS=file.json   use other report definitions       KEYS=1   list the keys of the results'
	@echo '            SCHEDULED_TIME=2026-11-22T02:15:00Z         WAIT_SCALE=0.01 (0 to 1)'
	@echo 'make unit   Run the unit tests: less than 2 minutes.'
	@echo 'make quick  Run all tests except the slow ones: about 8 minutes.'
	@echo 'make test   Run every check and every test: about 13 minutes.'
	@echo '            WORKERS=4   processes of make test and make quick'
	@echo 'make check  Check style, types and security without running the code.'
	@echo 'make fmt    Format the code, and write the generated parts of the template and the docs.'
	@echo 'make chaos  Run SEEDS=200 weeks of faults in virtual time, one per seed: 15 minutes.'
	@echo '            SEED=123   run one seed   FIRST=201   start at this seed   TRACE=1   print every call'
	@echo 'make fuzz   Search for an archive or a CSV that is read wrongly: SECONDS=60.'
	@echo 'make bench  Measure memory, speed and cold start: 10 minutes.'
	@echo '            PART=store (or cli, coldstart, convert, delivery, latency, ledger, queries)'
	@echo '            SIZES="100 1000" (MB)   RUNS=5'
	@echo '            SETTINGS="open lambda"   VARIANTS="limit upload_fileobj ours"'
	@echo 'make audit  Ask PyPI for known vulnerabilities of the locked dependencies. Offline, it says unchecked.'
	@echo 'make licences  List the licences of the locked dependencies, and refuse any but the allowed.'
	@echo 'make lock   Lock the dependencies of pyproject.toml again.'
	@echo 'make clean  Remove everything that make created, except the records of paid reports in .local/.'

# With exec, a signal reaches the run, which then stops its processes.
run: .venv/installed-local
	@exec env $(IMPORTS) $(BIN)/python -m local.run

unit: .venv/installed-dev
	$(PYTEST) -n $(CORES) tests/unit

quick: .venv/installed-dev
	$(PYTEST) -n $(WORKERS) -m 'not slow'

test: .venv/test-tools check sam
	$(PYTEST) -n $(WORKERS)

# Installing waits for the network half of the time. So install the environments side by side.
.PHONY: .venv/test-tools
.venv/test-tools:
	@sam=; if $(FIND_PYTHON313); then sam=.venv-sam/installed; fi; \
	$(MAKE) --no-print-directory -j3 .venv/installed-dev .venv-security/installed $$sam

check: .venv/installed-dev .venv-security/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive functions layers
	$(BIN)/cfn-lint template.yaml
	$(NO_ACCOUNTS) .venv-security/bin/checkov --config-file .checkov.yaml

LOCKED := $(wildcard requirements/*.txt layers/*/requirements.txt functions/*/requirements.txt)
audit: .venv-security/installed
	@.venv-security/bin/python -m local.audit $(LOCKED)

# The metadata of a package is in the environment that has the package.
licences: .venv/installed-dev .venv/installed-bench .venv/installed-fuzz .venv-sam/installed .venv-security/installed
	@$(BIN)/python -m local.licences .venv .venv-sam .venv-security

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

# sam build needs the Python version of the functions.
sam:
	@if $(FIND_PYTHON313); then $(MAKE) --no-print-directory .venv-sam/installed; \
	else echo 'python3.13 is neither on PATH nor under pyenv: skipping the test of sam build'; fi

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
	rm -rf .venv .venv-sam .venv-security .venv-lock .aws-sam out tests/node_modules
	rm -rf .local/run-* .local/last-run.json .local/out.jsonl .local/undelivered
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cli functions layers local tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-local .venv/installed-dev .venv/installed-bench .venv/installed-fuzz: .venv/installed-%: requirements/%.txt .venv/bin/python
	@echo 'installing $< into .venv' >&2
	@$(BIN)/python -m $(PIP_INSTALL) -r $< >&2
	@$(BIN)/python -m $(PIP_EDITABLE) >&2
	@touch $@

# Each of these tools imports a part of its packages, and compiles that part when it runs.
.venv-sam/installed .venv-security/installed: .venv-%/installed: requirements/%.txt .venv-%/bin/python
	@echo 'installing $< into $(@D)' >&2
	@$(@D)/bin/python -m $(PIP_INSTALL) --no-compile -r $< >&2
	@touch $@

.venv-lock/installed: pyproject.toml .venv-lock/bin/python
	.venv-lock/bin/python -m pip install --quiet --upgrade pip
	.venv-lock/bin/python -m pip install --quiet --group lock
	@touch $@

.venv/bin/python .venv-sam/bin/python .venv-security/bin/python .venv-lock/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	echo '$(PYTHON) is not found: name a Python, as in make run PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo '$(PYTHON) is not Python 3.11 or newer: name one, as in make run PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); \
	echo '$(PYTHON) cannot create a virtual environment (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
