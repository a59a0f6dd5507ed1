# `make demo` and `make test` need Python >= 3.11, make and the package registries; they set up the rest.
# A GPU-less machine outside this project may prefer PyTorch's CPU packages: point PIP_EXTRA_INDEX_URL at them.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec

export MUJOCO_GL ?= egl
# Without cached bytecode every start would compile torch again; pip's compiling of all files is slower than on demand.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Of pip's output show a word for each package and the errors; all of it is in $(VENV)/install.log.
SHOW := awk '/^Collecting|^Processing/ {sub(/.*\//, "", $$2); split($$2, name, /[^A-Za-z0-9._-]|-[0-9]/); printf "%s ", name[1]} \
  /^Installing/ {print "\nunpacking"} /^ *(ERROR|error):/ {print} {fflush()}'
INSTALL := $(PIP) install --no-compile --progress-bar off -c constraints.txt

# $(call install,WHY): runs the shell's $install where that is possible, otherwise prints it and stops.
install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "$(1): $$install"; DEBIAN_FRONTEND=noninteractive sh -c "$$install" </dev/null >/dev/null; \
  else echo "$(1); run this, then make again: sudo sh -c '$$install'" >&2; exit 1; fi;

.PHONY: demo test lint setup python libraries clean

demo: setup
	$(VENV)/bin/worldmodel demo

test: lint
	$(VENV)/bin/python -m pytest -q -n auto --dist loadgroup --no-loadscope-reorder

# mypy knows no folder mapping, so it gets the packages laid out as they are imported.
lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	@rm -rf build/types && mkdir -p build/types/worldmodel
	@ln -s "$(CURDIR)"/worldmodel/* "$(CURDIR)/envs" "$(CURDIR)/evaluators" build/types/worldmodel/
	cd build/types && ../../$(VENV)/bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p worldmodel

setup: python libraries $(STAMP)

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	  f"PYTHON: got {sys.executable} {v[0]}.{v[1]}, expected 3.11 or newer; install one and run: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null && exit; \
	install="$$($(PYTHON) -c 'import sys; from worldmodel import doctor as d; \
	  print(d.apt_command(f"python3.{sys.version_info[1]}-venv"))')"; \
	$(call install,$(PYTHON) has no venv module)

libraries: python
	@install="$$($(PYTHON) -c 'from worldmodel import doctor as d; print(d.apt_command() if d.missing_libraries() else "")')"; \
	[ -z "$$install" ] || { $(call install,MuJoCo and OpenCV miss system libraries) }

$(STAMP): pyproject.toml constraints.txt | python libraries
	@[ -x $(VENV)/bin/pip ] || { echo "Creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the packages pinned in constraints.txt into $(VENV) (a minute or two)"
	@{ $(INSTALL) setuptools && $(INSTALL) --no-build-isolation -e '.[all,dev]'; } 2>&1 | tee $(VENV)/install.log | $(SHOW)
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
