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
TRITONCLIENT_LOCK := requirements/tritonclient.txt
TRITONCLIENT_INSTALLED := $(VENV)/.installed-tritonclient
GPU_LOCK := requirements/gpu.txt
CUDA_HEADERS_LOCK := requirements/cuda-headers.txt
PEERS := mosec triton litserve ray
PEERS_INSTALLED := $(PEERS:%=.cache/peers/%/.installed)
PYCUDA_INSTALLED := $(VENV)/.installed-pycuda
PROTOS := $(shell cd protos && find tsnd -name '*.proto' | sort)
PIP := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv

.DEFAULT_GOAL := help
.PHONY: help setup engines tensorrt-bindings tritonclient pycuda demo test test-slow test-cuda gpu-check fmt lint type protos protos-check protos-break check bench bench-cpu bench-allocations bench-payloads bench-two-stream bench-load bench-precision bench-smoke peers bench-peers bench-roofline bench-scaling gpu-bench fuzz soak serve lock hooks clean

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

tritonclient: $(TRITONCLIENT_INSTALLED) ## add Triton's client to .venv, with which the KServe service is tested

$(TRITONCLIENT_INSTALLED): $(TRITONCLIENT_LOCK) $(INSTALLED)
	@$(PIP) install --quiet --no-deps --require-hashes -r $(TRITONCLIENT_LOCK)
	@touch $@

pycuda: $(PYCUDA_INSTALLED) ## compile PyCUDA into .venv (3 minutes; needs g++, and neither a CUDA toolkit nor a GPU)

PYCUDA := $(CURDIR)/.cache/pycuda
# Of libcuda only the name is linked, hence the empty one: the driver's own is found at run time.
$(PYCUDA_INSTALLED): $(GPU_LOCK) $(CUDA_HEADERS_LOCK) | $(INSTALLED)
	@command -v g++ >/dev/null || { echo 'PyCUDA is compiled, which needs g++. On Debian and Ubuntu: apt install g++' >&2; exit 1; }
	@echo 'Compiling PyCUDA (about 3 minutes, once)'
	@rm -rf $(PYCUDA) && mkdir -p $(PYCUDA)/source
	@$(PIP) download --quiet --no-deps --require-hashes --no-build-isolation --no-binary pycuda \
	  --dest $(PYCUDA) -r $(GPU_LOCK)
	@$(PIP) install --quiet --no-deps --require-hashes --target $(PYCUDA)/headers -r $(CUDA_HEADERS_LOCK)
	@gcc -shared -x c /dev/null -Wl,-soname,libcuda.so.1 -o $(PYCUDA)/libcuda.so
	@tar -xzf $(PYCUDA)/pycuda-*.tar.gz -C $(PYCUDA)/source --strip-components=1
	@printf '%s\n' 'CUDA_ENABLE_CURAND = False' "CUDADRV_LIB_DIR = ['$(PYCUDA)']" \
	  "CUDA_INC_DIR = ['$(PYCUDA)/headers/nvidia/cuda_runtime/include', '$(PYCUDA)/headers/nvidia/cuda_profiler_api/include']" \
	  > $(PYCUDA)/source/siteconf.py
	@LDFLAGS=-Wl,--no-as-needed $(PIP) install --quiet --no-deps --no-build-isolation $(PYCUDA)/source $(PYCUDA)/*.whl
	@rm -rf $(PYCUDA)
	@touch $@

demo: $(DEMO_INSTALLED) ## build a model, serve it, score a real video clip (no GPU, no download of weights)
	@$(BIN)/python examples/demo.py

test: $(INSTALLED) ## run the test suite
	@$(BIN)/python -m pytest

test-slow: $(INSTALLED) ## run the slow tests, which `make test` leaves out
	@$(BIN)/python -m pytest -m 'slow and not gpu'

# Succeeds where this machine has an NVIDIA driver and a GPU.
FIND_GPU := $(PYTHON) -c 'import ctypes; n = ctypes.c_int(); c = ctypes.CDLL("libcuda.so.1"); raise SystemExit(c.cuInit(0) or c.cuDeviceGetCount(ctypes.byref(n)) or n.value == 0)' 2>/dev/null
CUDA_EMULATOR ?= # a folder with another libcuda for CPUs, in emu.c
CUDA_LIBRARIES := $(CURDIR)/.cache/cuda

test-cuda: $(PYCUDA_INSTALLED) ## run the tests of the CUDA code: on this machine's GPU, else on a libcuda for CPUs
	@rm -rf $(CUDA_LIBRARIES) && mkdir -p $(CUDA_LIBRARIES)
	@gcc -shared -fPIC -O1 -Wall -Wextra -o $(CUDA_LIBRARIES)/late_driver.so tests/late_driver.c -ldl -lpthread
	@# Weak, so that the driver's own functions take the place of those that it has.
	@nm -D --undefined-only $(VENV)/lib/python*/site-packages/pycuda/_driver*.so | \
	  sed -n 's/.* U \(cu[A-Z]\w*\)$$/__attribute__((weak)) int \1(void) { return 801; }/p' > $(CUDA_LIBRARIES)/rest.c
	@$(FIND_GPU) || gcc -shared -fPIC -O1 -w -Wl,-soname,libcuda.so.1 -o $(CUDA_LIBRARIES)/libcuda.so.1 \
	  $(or $(addsuffix /emu.c,$(strip $(CUDA_EMULATOR))),tests/cpu_driver.c) $(CUDA_LIBRARIES)/rest.c -ldl
	@LD_PRELOAD=$(CUDA_LIBRARIES)/late_driver.so LD_LIBRARY_PATH="$(CUDA_LIBRARIES)$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" \
	  $(BIN)/python -m pytest tests/daemon/executors/tensorrt tests/benchmarks/test_gpu.py

TENSORRT := $(shell sed -n 's/^tensorrt-cu13-bindings==\([0-9.]*\).*/\1/p' requirements/tensorrt-11.txt)
gpu-check: ## install what a GPU needs, test on it, and measure every precision on it: one table
	@if ! $(FIND_GPU); then echo 'No NVIDIA GPU is visible here, so there is nothing to check.'; exit 0; fi; \
	set -e; $(MAKE) --no-print-directory engines pycuda; \
	$(PIP) install --quiet tensorrt-cu13==$(TENSORRT) || \
	  echo 'TensorRT $(TENSORRT) cannot be fetched here, so only TensorRT-RTX is checked'; \
	$(BIN)/python -m pytest -m gpu tests; \
	$(MAKE) --no-print-directory gpu-bench

GPU_BATCHES ?= 1 8 32
gpu-bench: $(INSTALLED) ## measure every plan bare and behind its executor, in batches of GPU_BATCHES
	@for batch in $(GPU_BATCHES); do $(BIN)/python -m benchmarks.gpu --batch-size $$batch || exit 1; done

fmt: $(INSTALLED) ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix-only --quiet .

lint: $(INSTALLED) ## check format, lint rules and import contracts
	@$(BIN)/ruff format --check --quiet . || { echo 'Not formatted: run make fmt' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@out=$$(PYTHONPATH=protos:engine_builder:daemon:client $(BIN)/lint-imports --no-cache 2>&1) || { echo "$$out"; exit 1; }

type: $(INSTALLED) ## check types (mypy --strict)
	@$(BIN)/mypy

protos: $(INSTALLED) ## generate from protos/ the Python code, the API's reference and the contract's record
	@cd protos && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/python -m grpc_tools.protoc -I. \
	  --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	@rm -f protos/tsnd/v1/model_pb2_grpc.py* protos/tsnd/caffe/net_pb2_grpc.py*
	@$(BIN)/python -m contracts

protos-check: protos ## fail when protos/ break their contract, or what is generated from them is not committed
	@git diff --exit-code --stat -- protos docs/api.md || { echo 'What is generated differs from protos/: run make protos and commit' >&2; exit 1; }

WHY ?= # why a contract has to be broken
protos-break: $(INSTALLED) ## record a contract that breaks the one before: WHY='...'
	@test -n '$(strip $(WHY))' || { echo "Say why: make protos-break WHY='...'; see docs/compatibility.md" >&2; exit 1; }
	@$(BIN)/python -m contracts --break '$(strip $(WHY))'
	@$(MAKE) --no-print-directory protos

check: lint type protos-check test-slow test-cuda test ## everything CI runs

bench: $(INSTALLED) ## measure the daemon against the bare engine
	@$(BIN)/python -m benchmarks.throughput

bench-cpu: $(INSTALLED) ## measure what a snippet costs the daemon beside a bare gRPC echo
	@$(BIN)/python -m benchmarks.server_cpu

bench-allocations: $(INSTALLED) ## count what the daemon allocates for a snippet
	@$(BIN)/python -m benchmarks.allocations

bench-smoke: $(INSTALLED) ## hold what the daemon costs and delivers to benchmarks/bounds.toml (under 3 minutes)
	@$(BIN)/python -m benchmarks.smoke

bench-payloads: $(INSTALLED) ## measure what a snippet costs the daemon raw, in shared memory and as JPEG
	@$(BIN)/python -m benchmarks.payloads

bench-two-stream: $(INSTALLED) ## measure whether decoding, flow and networks overlap in one clip
	@$(BIN)/python -m benchmarks.two_stream

peers: $(PEERS_INSTALLED) ## install each server that tsnd is compared with into .cache/peers (1.5 GB)

.cache/peers/%/.installed: requirements/peers-%.txt
	@echo 'Installing $* into .cache/peers/$*'
	@rm -rf .cache/peers/$* && $(PYTHON) -m venv .cache/peers/$*
	@.cache/peers/$*/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
	@touch $@

bench-roofline: $(INSTALLED) $(ENGINES_INSTALLED) ## hold the bare engines to what this processor can do, over batch sizes
	@$(BIN)/python -m benchmarks.roofline

bench-scaling: $(INSTALLED) ## measure what a snippet costs the daemon over streams, groups, models and payloads
	@$(BIN)/python -m benchmarks.scaling

PEER_OPTIONS ?= # such as --quick, 2 minutes instead of 12
bench-peers: $(INSTALLED) $(PEERS_INSTALLED) ## compare with Triton, Ray Serve, LitServe and mosec; PEER_OPTIONS=--quick
	@$(BIN)/python -m benchmarks.peers $(PEER_OPTIONS)

LOAD ?= # arguments of `tsn bench` in place of the sweep of rates
bench-load: $(INSTALLED) ## load the daemon, without an engine, at rising rates; LOAD='--in-flight 16' instead
	@$(BIN)/python -m benchmarks.loadgen $(LOAD)

bench-precision: $(INSTALLED) $(ENGINES_INSTALLED) ## measure every precision and runtime on this CPU
	@$(BIN)/python benchmarks/precision.py

SEED ?= 1
COUNT ?= 200000
fuzz: $(INSTALLED) ## send a daemon COUNT damaged messages made from SEED, and check every answer
	@$(BIN)/python -m tests.fuzz --seed $(SEED) --count $(COUNT)

SOAK_S ?= 600
soak: $(INSTALLED) ## keep a daemon under steady traffic and trouble for SOAK_S seconds, on a fifth of a core
	@TSND_SOAK_S=$(SOAK_S) $(BIN)/python -m tests.soak

serve: $(INSTALLED) ## serve the packages of ./models
	@$(BIN)/tsnd --model-repository models

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --custom-compile-command 'make lock'
LOCKED_EXTRAS := --extra video --extra features --extra plots --extra traces --extra daemon --extra builder --extra calibration --extra dev
lock: $(INSTALLED) ## resolve the dependencies anew into exact versions with hashes
	@$(PIP) install --quiet uv
	@$(UV_COMPILE) $(LOCKED_EXTRAS) pyproject.toml -o $(LOCK)
	@$(UV_COMPILE) --no-deps requirements/engines.in -o $(ENGINES_LOCK)
	@$(UV_COMPILE) --no-deps requirements/tritonclient.in -o $(TRITONCLIENT_LOCK)
	@$(UV_COMPILE) --no-deps requirements/demo.in -o $(DEMO_LOCK)
	@$(UV_COMPILE) --no-deps requirements/gpu.in -o $(GPU_LOCK)
	@$(UV_COMPILE) --no-deps requirements/cuda-headers.in -o $(CUDA_HEADERS_LOCK)
	@for peer in $(PEERS); do $(UV_COMPILE) requirements/peers-$$peer.in -o requirements/peers-$$peer.txt || exit 1; done

hooks: $(INSTALLED) ## install the git pre-commit hook
	@$(BIN)/pre-commit install

clean: ## remove .venv and everything generated that is not committed
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info demo-run
