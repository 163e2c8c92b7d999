# SPDX-License-Identifier: Apache-2.0
# make demo   closed-loop demo: a pruned policy drives a simulated robot through ROS topics
# make test   the tests
# make test-kernels   the parity tests again, as processors without AVX-512 and AVX2 compute
# make lint   style and types
# make docs   writes again what is generated: parameter file and tables, file tree
# make eval   the comparison of pruners that the README quotes; continues where it was stopped
# make clean  remove .venv and what was built; results in out/ stay
# make clean-results   remove out/
# All but the last two set up .venv first.  Variables: PYTHON (an interpreter, 3.10 to 3.13),
# TORCH_INDEX (an extra package index, for example PyTorch's one with CPU builds), DEMO_ARGS,
# PYTEST_ARGS, EVAL_ARGS, KERNELS (default, avx2, avx512) and KERNEL_TESTS (folders of test/) for
# test-kernels.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := ros-pypi,sim,replay,hf,quant,test
PIP := $(PY) -m pip --disable-pip-version-check
EVAL_ARGS ?= --claims a,b,c,d,e --pruners vla_pruner,fastv,sparsevlm,divprune,random,uniform \
  --budgets all,50%,25%,12.5%,6.25% --episodes 9 --set execution_horizon=2 --checkpoint tabletop \
  --checkpoint tabletop-seed1 --checkpoint tabletop-seed2 --out out/table
# Values of ATEN_CPU_CAPABILITY; test/conftest.py narrows the libraries behind torch with it.
KERNELS ?= default avx2
KERNEL_TESTS ?= test/parity
READY := Ready: $(VENV)/bin/vla-pruner --help   (or by name after: source $(VENV)/bin/activate)
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Spinning OpenMP threads and a network-wide ROS graph disturb everything else on this machine.
export OMP_WAIT_POLICY := PASSIVE
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

.DEFAULT_GOAL := help
.PHONY: help demo test test-kernels lint docs eval setup clean clean-results

help:
	@sed -n '2,/^[^#]/s/^# //p' Makefile

demo: setup
	$(PY) -m vla_pruner_ros.cli.main demo $(DEMO_ARGS)

test: setup
	$(PY) -m pytest test $(PYTEST_ARGS)

test-kernels: setup
	@status=0; for kernels in $(KERNELS); do \
	  echo "ATEN_CPU_CAPABILITY=$$kernels"; \
	  ATEN_CPU_CAPABILITY=$$kernels $(PY) -m pytest $(KERNEL_TESTS) $(PYTEST_ARGS) || status=$$?; \
	done; exit $$status

lint: setup
	$(PIP) install -q $(INDEX) -c constraints.txt ruff mypy
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: $(STAMP)
	$(PY) docs/generate.py

eval: setup
	$(PY) -m vla_pruner_ros.cli.main eval $(EVAL_ARGS)

# colcon would look for packages in a virtual environment that lies in its workspace.
setup: $(STAMP)
	@touch $(VENV)/COLCON_IGNORE
	@$(PY) -m vla_pruner_ros.demo.machine_check
	$(if $(filter setup,$(MAKECMDGOALS)),@echo '$(READY)')

$(STAMP): constraints.txt setup.py pyproject.toml
	@set -e; for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.12 python3.11 python3.13 python3.10); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	      2>/dev/null; then found="$$candidate"; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo 'No Python 3.10 to 3.13 found (looked for $(if $(PYTHON),$(PYTHON),python3 and python3.10 to 3.13)).' \
	    'Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make virtual environments: sudo apt-get install python3-venv" >&2; exit 1; fi; \
	echo "Installing into $(VENV) with $$("$$found" --version); the first time takes some minutes"; \
	"$$found" -m venv $(VENV)
	$(PIP) install -q $(INDEX) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) build install log *.egg-info

clean-results:
	rm -rf out
