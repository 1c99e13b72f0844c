# Two commands matter: `make demo` runs the main job on the real package, `make test` runs every test.
# Both set up what they need first; what is already there is not done again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
TEST_PROCESSES ?= 2

.PHONY: help demo test test-gpu setup tools project editors lint unit docs site bench bench-injections vsix clean

help:
	@echo "make demo    set up and run ditproof on the real fastvideo package"
	@echo "make test    set up and run every test"
	@echo "make test-gpu  the tests that need a CUDA device (DITPROOF_PROJECT_PYTHON: a torch that sees it)"
	@echo "make setup   set up everything that the tests need (tools, project, editors)"
	@echo "make lint    ruff, mypy, eslint, tsc"
	@echo "make unit    the unit tests alone"
	@echo "make docs    write the rule pages again"
	@echo "make site    the documentation as a site, in site/"
	@echo "make bench   measure against peers, as ratios"
	@echo "make vsix    package the VS Code extension"
	@echo "make clean   remove what set-up made"

demo: tools project
	@scripts/demo.sh

test: setup lint
	@echo "==> client unit tests"
	@cd vscode-client && npm test --silent
	@echo "==> python tests (unit, probe, server, editors)"
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile

# A skip here means that no CUDA device was seen: it is shown, and is no pass.
test-gpu: tools
	@$(BIN)/pytest -m gpu -rs tests/probe

setup: tools project editors

tools: $(STAMP)

$(STAMP): pyproject.toml
	@echo "==> tools: ditproof and its development tools into $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ditproof needs Python 3.10 or newer; set PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

project:
	@DITPROOF_BASE_PYTHON=$(PYTHON) scripts/project_env.sh

editors: tools
	@PYTHON=$(PYTHON) scripts/setup_editors.sh

lint: tools
	@echo "==> ruff, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@echo "==> eslint, tsc"
	@cd vscode-client && npm run --silent lint && npm run --silent typecheck

unit: tools
	@$(BIN)/pytest tests/unit

docs: tools
	@$(BIN)/python scripts/generate_docs.py

site: docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "==> site/index.html"

bench: tools project
	@$(BIN)/python benchmarks/keystroke.py
	@$(BIN)/python benchmarks/server_keys.py
	@$(BIN)/python benchmarks/mapping_keys.py
	@$(BIN)/python benchmarks/weights.py
	@$(BIN)/python benchmarks/check.py
	@$(BIN)/python benchmarks/trace_overhead.py
	@$(BIN)/python benchmarks/recorder_overhead.py

INJECTIONS ?= .injections
EXAM := $(BIN)/python benchmarks/injections.py
EXAM_RUN := --split all --count 44 --seed 2026 --clean 100 --together 12

# Two processes share the run; started again it goes on where it was stopped.
bench-injections: tools project
	@mkdir -p $(INJECTIONS)
	@export OMP_NUM_THREADS=1; for share in 1 2; do \
		$(EXAM) $(EXAM_RUN) --shard $$share/2 --results $(INJECTIONS)/$$share.jsonl \
			--failures $(INJECTIONS)/failures > $(INJECTIONS)/$$share.log 2>&1 & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid || failed=1; done; test -z "$$failed" \
		|| { tail -n 20 $(INJECTIONS)/*.log; exit 1; }
	@$(EXAM) --summary --results $(INJECTIONS)/1.jsonl $(INJECTIONS)/2.jsonl

vsix: editors

clean:
	rm -rf $(VENV) .project-venv .real .editors .demo site vscode-client/node_modules vscode-client/dist
