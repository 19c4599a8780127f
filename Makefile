# make quickstart   everything on the toy world, environment included; run again, it goes on where it was
# make install      the environment alone; EXTRA=cpu|gpu (default: gpu where nvidia-smi lists one), VENV=.venv, PYTHON=python3
# make test         quick tests; make test-slow: real engines, trainers, commands; make test-gpu: those that need a GPU,
#                  and benchmarks/gpu_check.py, which prints what agreed, to be pasted into an issue
# make lint         ruff, mypy and spelling; make clean: caches and builds, never outputs
# make lock         the tested set of every package anew, from the ranges in pyproject.toml (requirements/lock-*.txt)
# make docs         docs/ as a site in build/docs; a dead link is an error

VENV ?= .venv
ifndef EXTRA
EXTRA := $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo gpu || echo cpu)
endif
STAMP := $(VENV)/.installed-$(EXTRA)
PYTEST := $(VENV)/bin/python -m pytest -q

.PHONY: quickstart install lock test test-slow test-gpu lint docs clean
MAKEFLAGS += --no-print-directory

quickstart: install
	@$(VENV)/bin/cord run recipes/quickstart.yaml

install: $(STAMP)
	@:

$(STAMP): pyproject.toml requirements/overrides-cpu.txt requirements/lock-$(EXTRA).txt
	@sh requirements/install.sh "$(VENV)" "$(EXTRA)"

LOCK := uv pip compile -q --upgrade -p 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --extra dev
lock: install
	@$(VENV)/bin/$(LOCK) --extra cpu --overrides requirements/overrides-cpu.txt -o requirements/lock-cpu.txt
	@$(VENV)/bin/$(LOCK) --extra gpu -o requirements/lock-gpu.txt

test: install
	@$(PYTEST) -m "not slow and not gpu"

test-slow: install
	@$(PYTEST) -m "slow and not gpu"

test-gpu: install
	@$(PYTEST) -m gpu || [ $$? -eq 5 ]
	@$(VENV)/bin/python benchmarks/gpu_check.py

lint: install
	@$(VENV)/bin/ruff check --output-format concise .; ruff=$$?; $(VENV)/bin/codespell; spelling=$$?; \
	$(VENV)/bin/mypy && exit $$((ruff + spelling))

docs: install
	@$(VENV)/bin/python -m cord_distill.recipe.reference
	@$(VENV)/bin/python -m sphinx -q -W --keep-going -d build/doctrees docs build/docs
	@echo build/docs/index.html

clean:
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
