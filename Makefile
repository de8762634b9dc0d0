# Everything runs in the project's own virtual environment, made on first use.
PYTHON ?= python3
BIN := .venv/bin
# Processes of the tests; a file's tests stay in one, for what they share is made once.
WORKERS ?= auto
SIDE_BY_SIDE = -n $(WORKERS) --maxprocesses 8 --dist loadfile
READY := .venv/.ready

.PHONY: setup demo test test-slow check bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/hardy demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow'

test-slow: $(READY)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m slow

check: $(READY)
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/speed/all.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
