# Every target sets up what it needs: python3 (>= 3.11) and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
# On all cores; PYTEST_ARGS='-n 0' in one process, as --pdb does by itself.
SPREAD := -n auto --maxprocesses 4 --dist worksteal
BENCH_ARGS ?=
CHAOS_ARGS ?=
MUTATE_ARGS ?=
PROFILE_ARGS ?=
# Runs a command with PGFLOW_TEST_DSN leading to a throw-away server of Debian's.
ON_DEBIANS := scripts/with_postgres.sh 15

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	scripts/make_venv.sh $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup ## survey Python's standard library with a flow, on a PostgreSQL of its own
	@$(BIN)/pgflow demo

test: setup ## the test suite, without what is slow (PGFLOW_TEST_DSN: on another server)
	$(BIN)/pytest -m 'not slow' $(SPREAD) $(PYTEST_ARGS)

test-slow: setup ## only what is slow (installs Debian's PgBouncer and libfaketime, as root, if they are not there)
	scripts/with_faketime.sh scripts/with_pgbouncer.sh $(BIN)/pytest -m slow $(PYTEST_ARGS)

test-pg%: setup ## the test suite on PostgreSQL 14 to 18, as in test-pg14 (15: Debian's; the others: npm's)
	scripts/with_postgres.sh $* $(BIN)/pytest -m 'not slow' $(SPREAD) $(PYTEST_ARGS)

coverage: setup ## branches of src, functions of sql/ and arrows of its state diagrams that the whole suite reaches
	$(BIN)/python scripts/measure_coverage.py $(BIN)/pytest $(SPREAD) $(PYTEST_ARGS)

soak: setup ## 20,000 random histories, the database against the in-memory model (takes two hours or so)
	PGFLOW_HISTORIES=20000 $(BIN)/pytest -s tests/testing/test_model.py $(PYTEST_ARGS)

chaos: setup ## minutes of faults against workers under load; writes its figures into docs/explanation/reliability.md
	scripts/with_faketime.sh $(BIN)/python -m tests.faults.chaos --report docs/explanation/reliability.md $(CHAOS_ARGS)

mutate: setup ## plant faults in our SQL, one at a time: the random histories must find each
	$(BIN)/python -u scripts/mutate.py $(MUTATE_ARGS)

test-plans: setup ## what each call costs in pages and rows, on PostgreSQL 15 with 5,000,000 finished tasks (about 15 minutes)
	PGFLOW_TEST_HISTORY=5000000 $(ON_DEBIANS) $(BIN)/pytest -s tests/sql/plans $(PYTEST_ARGS)

schema: setup ## write down what a fresh install looks like (after a new migration or function)
	$(BIN)/python -m tests.schema.dump

check: setup ## format, lint, types, import layers, generated code, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/unasync.py --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/audit.py

fix: setup ## format, mend what can be mended, generate the sync twins and the pages of commands and SQL functions
	$(BIN)/python scripts/unasync.py
	$(BIN)/python scripts/commands_page.py
	$(BIN)/python scripts/sql_functions_page.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure against the peers, on a PostgreSQL of its own; goes on where it stopped (BENCH_ARGS: see benchmarks/README.md)
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/report.py

bench-quick: setup ## a little of both, in less than five minutes
	$(BIN)/python benchmarks/run.py --quick $(BENCH_ARGS)

bench-report: setup ## write docs/explanation/benchmarks.md from what was measured
	$(BIN)/python benchmarks/report.py

profile: setup ## where a busy worker's time goes, in Python and in the database (PROFILE_ARGS; reports: benchmarks/profiles)
	$(ON_DEBIANS) $(BIN)/python benchmarks/profiler.py $(PROFILE_ARGS)

guard: setup ## count what a task costs, and write it into docs/explanation/performance.md
	PGFLOW_WRITE_COSTS=1 $(BIN)/pytest tests/guard -k write
	PGFLOW_WRITE_COSTS=1 $(ON_DEBIANS) $(BIN)/pytest tests/guard -k write

docs: setup ## build the site into site/, strictly; run what the documents show, and follow their links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	$(BIN)/pytest tests/docs $(PYTEST_ARGS)
