# Two commands do everything: `make demo` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check tests lock schema clean

demo: .venv/installed
	$(BIN)/assay demo $(ARGS)

test: check tests

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

schema: .venv/installed
	$(BIN)/assay schema > schema/schema.graphql

lock: .venv/installed
	$(BIN)/uv lock --quiet --upgrade
	$(BIN)/uv export --quiet --all-groups --no-emit-project --no-header --output-file requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Assay needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
