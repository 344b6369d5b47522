# make demo       install, then compare HetConv with what it replaces, on real images, in a few minutes
# make test       install, then everything that must hold: lint, types, tests
# make sanitize   the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, over odd shapes; needs only g++
# make install, make clean

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test sanitize install clean

demo: install
	$(BIN)/hetconv compare --model vgg16_cifar --width 0.5 --out demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(shell find csrc examples -name '*.cpp' -o -name '*.h')
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

sanitize:
	$(MAKE) -j $(shell nproc) -C csrc sanitize

install: $(INSTALLED)

# torch first, and the package without build isolation, so that its build does not fetch torch a second time
$(INSTALLED): pyproject.toml $(wildcard setup.py csrc/*)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("hetconv needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet torch torchvision
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build demo src/*.egg-info
