# The only door: README, hooks and CI call these targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
DEMO_LOCK := requirements/demo.txt
INSTALLED := $(VENV)/.installed
DEMO_INSTALLED := $(VENV)/.installed-demo
ENGINES_LOCK := requirements/engines.txt
ENGINES_INSTALLED := $(VENV)/.installed-engines
PROTOS := tsnd/v1/model.proto tsnd/v1/snippets.proto tsnd/caffe/net.proto
PIP := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv

.DEFAULT_GOAL := help
.PHONY: help setup engines tensorrt-bindings demo test test-slow fmt lint type protos protos-check check bench bench-precision serve lock hooks clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## create .venv and install the exact versions of requirements/lock.txt

$(INSTALLED): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"tsnd needs Python 3.11 or newer; {sys.executable} is {v}. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'This Python cannot create virtual environments. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV) (about a minute, once)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --no-deps --require-hashes -r $(LOCK)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEMO_INSTALLED): $(DEMO_LOCK) $(INSTALLED)
	@$(PIP) install --quiet --no-deps --require-hashes -r $(DEMO_LOCK)
	@touch $@

engines: $(ENGINES_INSTALLED) ## add TensorRT-RTX and OpenVINO to .venv (about 150 MB; neither needs a GPU)

$(ENGINES_INSTALLED): $(ENGINES_LOCK) $(INSTALLED)
	@$(PIP) install --quiet --no-deps --require-hashes -r $(ENGINES_LOCK)
	@touch $@

tensorrt-bindings: $(INSTALLED) ## fetch the bindings of TensorRT 10 and 11, against which names are checked
	@for major in 10 11; do $(PIP) download --quiet --no-deps --require-hashes --only-binary=:all: \
	  --dest .cache/tensorrt-bindings -r requirements/tensorrt-$$major.txt || exit 1; done

demo: $(DEMO_INSTALLED) ## build a model, serve it, score a real video clip (no GPU, no download of weights)
	@$(BIN)/python examples/demo.py

test: $(INSTALLED) ## run the test suite
	@$(BIN)/python -m pytest

test-slow: $(INSTALLED) ## run the slow tests, which `make test` leaves out
	@$(BIN)/python -m pytest -m 'slow and not gpu'

fmt: $(INSTALLED) ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix-only --quiet .

lint: $(INSTALLED) ## check format, lint rules and import contracts
	@$(BIN)/ruff format --check --quiet . || { echo 'Not formatted: run make fmt' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@out=$$(PYTHONPATH=protos:engine_builder:daemon:client $(BIN)/lint-imports --no-cache 2>&1) || { echo "$$out"; exit 1; }

type: $(INSTALLED) ## check types (mypy --strict)
	@$(BIN)/mypy

protos: $(INSTALLED) ## generate the Python code of protos/
	@cd protos && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/python -m grpc_tools.protoc -I. \
	  --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	@rm -f protos/tsnd/v1/model_pb2_grpc.py* protos/tsnd/caffe/net_pb2_grpc.py*

protos-check: protos ## fail when the committed generated code is not what protos/ gives
	@git diff --exit-code --stat -- protos || { echo 'Generated code differs from protos/: run make protos and commit' >&2; exit 1; }

check: lint type protos-check test-slow test ## everything CI runs

bench: $(INSTALLED) ## measure the daemon against the bare engine
	@$(BIN)/python benchmarks/throughput.py

bench-precision: $(INSTALLED) $(ENGINES_INSTALLED) ## measure every precision and runtime on this CPU
	@$(BIN)/python benchmarks/precision.py

serve: $(INSTALLED) ## serve the packages of ./models
	@$(BIN)/tsnd --model-repository models

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --custom-compile-command 'make lock'
LOCKED_EXTRAS := --extra video --extra daemon --extra builder --extra calibration --extra dev
lock: $(INSTALLED) ## resolve the dependencies anew into exact versions with hashes
	@$(PIP) install --quiet uv
	@$(UV_COMPILE) $(LOCKED_EXTRAS) pyproject.toml -o $(LOCK)
	@$(UV_COMPILE) --no-deps requirements/engines.in -o $(ENGINES_LOCK)
	@$(UV_COMPILE) --no-deps requirements/demo.in -o $(DEMO_LOCK)

hooks: $(INSTALLED) ## install the git pre-commit hook
	@$(BIN)/pre-commit install

clean: ## remove .venv and everything generated that is not committed
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info demo-run
