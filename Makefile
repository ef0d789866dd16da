# A handful of targets; `make` lists them. Every variable can be given: make test PYTHON=python3.12 PYTEST_ARGS="-x tests/test_runs.py"

VENV ?= .venv
APP_ARGS ?=
PYTEST_ARGS ?=
LOCK_ARGS ?=
NPM ?= npm

ifeq ($(OS),Windows_NT)
VENV_PYTHON := $(VENV)/Scripts/python.exe
else
VENV_PYTHON := $(VENV)/bin/python
endif
APP_READY := $(VENV)/.app-ready
TESTS_READY := $(VENV)/.tests-ready
BROWSER_READY := static/ort/.ready
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
UV ?= $(VENV_PYTHON) -m uv

.DEFAULT_GOAL := help
.PHONY: help app browser test test-all lint format docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

app: $(APP_READY) ## install what the app needs into .venv and open it
	$(VENV_PYTHON) -m streamlit run app.py $(APP_ARGS)

browser: $(BROWSER_READY) ## fetch what the Live page runs networks with (npm); without it browsers ask a CDN

test: $(TESTS_READY) ## install what the tests need as well and run the quick ones
	@$(MAKE) --no-print-directory browser || echo "Going on without: the tests that need it are skipped."
	$(VENV_PYTHON) -m pytest $(PYTEST_ARGS)

test-all: $(TESTS_READY) ## run every test, also the long ones (trainings, builds, resolves)
	@$(MAKE) --no-print-directory browser || echo "Going on without: the tests that need it are skipped."
	$(VENV_PYTHON) -m pytest -m "" $(PYTEST_ARGS)

lint: $(TESTS_READY) ## check style
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: $(TESTS_READY) ## mend style where that can be done by machine
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

docs: $(TESTS_READY) ## write anew what the README shows of the project's own output
	$(VENV_PYTHON) -m cogapp -r README.md

# One resolve of everything for all platforms at once. The shorter lists are parts of it: they start as copies, whose versions
# uv keeps.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --only-binary :all: --annotation-style line pyproject.toml

lock: $(TESTS_READY) ## write requirements*.txt anew from pyproject.toml (LOCK_ARGS=--upgrade takes newer releases)
	$(LOCK) --extra app --extra hub --extra train --extra ray --extra dev -o requirements-dev.txt $(LOCK_ARGS)
	cp requirements-dev.txt requirements.txt
	$(LOCK) --extra app --extra hub --extra train -o requirements.txt
	cp requirements.txt requirements-serve.txt
	$(LOCK) --extra app --extra hub -o requirements-serve.txt

clean: ## remove the environment and what tools leave
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis node_modules static/ort static/models

# Two files of the pinned package are served by the app; npm checks the package against the lock file.
$(BROWSER_READY): package-lock.json
	@command -v $(NPM) >/dev/null || { echo "npm is missing: install Node.js, or name it: make browser NPM=..." >&2; exit 1; }
	$(NPM) ci --ignore-scripts --no-audit --no-fund --fetch-retries=1
	mkdir -p $(@D)
	cp node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs $(@D)
	cp node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm $(@D)
	rm -rf node_modules
	@touch $@

$(VENV_PYTHON):
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
		for name in python3 python3.13 python3.12 python3.11 python; do \
			if "$$name" -c "$(SUPPORTED)" 2>/dev/null; then python="$$name"; break; fi; \
		done; \
	fi; \
	if ! "$${python:-false}" -c "$(SUPPORTED)" 2>/dev/null; then \
		echo "Python 3.11, 3.12 or 3.13 is needed, but $${python:-python3} is" \
			"$$("$${python:-python3}" --version 2>/dev/null || echo missing);" \
			"install one, or name it: make ... PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	echo "$$python -m venv $(VENV)"; \
	"$$python" -m venv "$(VENV)"

$(APP_READY): requirements.txt | $(VENV_PYTHON)
	$(VENV_PYTHON) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

# requirements-dev.txt holds all of requirements.txt at the same versions.
$(TESTS_READY): requirements-dev.txt | $(VENV_PYTHON)
	$(VENV_PYTHON) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $(APP_READY) $@
