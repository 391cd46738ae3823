# `make help` lists the targets. Each makes .venv and installs what it needs by itself, once: see scripts/install.sh.

.PHONY: help install demo test lint clean distclean

help:
	@echo "make demo       train a baseline and R-Drop on a small generated corpus, score both, translate five sentences"
	@echo "make test       run the tests; PYTEST_ARGS='-k divergence' chooses some"
	@echo "make lint       run ruff and mypy"
	@echo "make install    only make .venv and install into it, which the targets above do too, once"
	@echo "make clean      remove what the tools left behind; data, runs and .venv stay"
	@echo "make distclean  remove .venv too"
	@echo "PYTHON=python3.12 make ... names the Python that .venv is made with"

install:
	@scripts/install.sh

demo: install
	PATH="$(CURDIR)/.venv/bin:$$PATH" scripts/demo.sh

# More processes than cores: many tests wait for programs. In the order of tests/conftest.py: long files come first.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
test: install
	.venv/bin/python -m pytest $(PYTEST_ARGS)

lint: install
	.venv/bin/ruff check .
	.venv/bin/mypy

clean:
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
