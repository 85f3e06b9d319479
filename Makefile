# `make` alone lists the targets. Each one sets up all it uses.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
EXTRAS ?= dev
TESTS ?=
# Each process of the tests has servers of its own; the tests of a file stay together.
IN_PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo demo-model test test-slow test-browser test-lowest test-newest test-cpu-variants faults check fmt schema async docs site site-serve bench-gallery bench-index-kinds bench-ingest bench-model bench-search bench-servers bench-startup bench-texts bench-vectors mutants clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Debian has the module venv without its package python3-venv, but then without pip: the system's pip installs instead.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Install it, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@echo "Installing into $(VENV), once; this takes some minutes ..."
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
	$$pip install --progress-bar off -c constraints.txt -e '.[$(EXTRAS)]' $(PIP_FLAGS) >$(VENV)/install.log 2>&1 || \
	{ tail -n 40 $(VENV)/install.log >&2; echo "pip failed; all that it said is in $(VENV)/install.log." >&2; exit 1; }
	@touch $@

demo: $(READY)  ## Index 400 images and search them, from nothing, in about a minute
	@$(BIN)/siglip-ingest demo --folder .demo

test: $(READY)  ## Run the normal tests (under 10 minutes on two cores)
	@$(BIN)/pytest -m 'not slow and not faults and not browser' $(IN_PARALLEL) $(TESTS)

test-slow: $(READY)  ## Run the tests at true model sizes and those that kill processes
	@$(BIN)/pytest -m '(slow or faults) and not browser'

test-browser: $(READY)  ## Run the tests of the gallery in Debian's `chromium`
	@$(BIN)/pytest -m browser $(IN_PARALLEL) tests/web/browser

faults: $(READY)  ## Kill, stop, fill and cut off what ingestion needs, and print what it did to 2,400 images (about 8 minutes)
	@$(BIN)/pytest -q tests/faults/ingest

# The next two install into a temporary folder. The lowest versions go without transformers, which asks for newer ones.
IN_VENV = @venv=$$(mktemp -d) && trap 'rm -rf "$$venv"' EXIT && $(MAKE) --no-print-directory test VENV="$$venv/venv"
LOWEST_TESTS := $(addprefix tests/,unit migrations project/test_imports.py project/test_wheel.py database/test_items.py \
	database/test_search.py database/test_pool.py database/orm workers/test_worker.py cli/test_commands.py) \
	--ignore=tests/unit/siglip/verify/test_standins.py
NEWEST_TESTS := $(addprefix tests/,unit/db unit/sources unit/services migrations project/test_imports.py \
	project/test_wheel.py database cli/test_without_a_home.py) \
	--ignore=tests/database/servers --ignore=tests/database/test_recall.py --ignore=tests/database/test_index_kinds.py \
	--ignore=tests/database/test_plans.py
NEWEST = $(shell for minor in 14 13 12 11; do for python in python3.$$minor $${PYENV_ROOT:-~/.pyenv}/versions/3.$$minor.*/bin/python; \
	do $$python -c '' 2>/dev/null && echo $$python && exit; done; done)

test-lowest:  ## Run a fast part of the tests with the lowest versions that pyproject.toml allows
	$(IN_VENV) EXTRAS=all,test PIP_FLAGS='-c constraints-lowest.txt' TESTS='$(LOWEST_TESTS)'

test-newest:  ## Run the tests that need no torch, without torch, on the newest Python that is installed
	$(IN_VENV) PYTHON='$(NEWEST)' EXTRAS=embedded,test PIP_FLAGS='httpx huggingface_hub pillow-heif' TESTS='$(NEWEST_TESTS)'

# oneDNN chooses its instructions by itself: unless it is told the same, products in bfloat16 fail.
test-cpu-variants: $(READY)  ## Run the small parity tests with the kernels that torch has for older processors
	@for variant in default:SSE41 avx2:AVX2; do \
	ATEN_CPU_CAPABILITY=$${variant%:*} ONEDNN_MAX_CPU_ISA=$${variant#*:} $(BIN)/pytest -m 'not slow' tests/parity/test_*layers.py \
	tests/parity/test_inference.py tests/parity/test_transformers_models.py tests/parity/test_family_embedding.py || exit 1; done

check: $(READY)  ## Lint, type-check and check the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(READY)  ## Format the code and apply what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

schema: $(READY)  ## Write migrations/schema.sql from the migrations
	@$(BIN)/python -m siglip_migrations.dump

demo-model: $(READY)  ## Train the demo checkpoint again from nothing (about an hour on two cores)
	@$(BIN)/python -m tools.demo_model.train

bench-gallery: $(READY)  ## Milliseconds from the last key to results on the screen, at 10,000 images (about 2 minutes)
	@$(BIN)/python benchmarks/gallery.py

bench-ingest: $(READY)  ## Images per second: end to end, encoder alone, decoding alone
	@$(BIN)/python benchmarks/ingest.py

bench-model: $(READY)  ## Images and texts per second beside transformers on the same weights (about 10 minutes)
	@$(BIN)/python benchmarks/model.py

bench-search: $(READY)  ## Searches beside the bare query: times, recall, filters, labels, while loading (100,000 vectors, about 10 minutes)
	@$(BIN)/python benchmarks/search.py

bench-index-kinds: $(READY)  ## Size, build time, recall and latency of each kind of index (about 20 minutes)
	@$(BIN)/python benchmarks/index_kinds.py

bench-servers: $(READY)  ## Searches over segments on one, two and three servers (about 10 minutes)
	@$(BIN)/python benchmarks/servers.py

bench-startup: $(READY)  ## Seconds from the start of a process to its first embedding, beside transformers
	@$(BIN)/python benchmarks/startup.py

bench-texts: $(READY)  ## Milliseconds of a new text in plain SQL, and beside the same question through Celery (about 6 minutes)
	@$(BIN)/python benchmarks/texts.py

bench-vectors: $(READY)  ## Rows per second of importing and exporting vectors (about a minute)
	@$(BIN)/python benchmarks/vectors.py

mutants: $(READY)  ## Break the code on purpose, and see that a test fails each time (about 20 minutes)
	@$(BIN)/python tools/mutants.py

async: $(READY)  ## Write the asynchronous client from the methods of the synchronous one
	@$(BIN)/python -m tools.async_client

docs: $(READY)  ## Write the pages that are made from the code, and run what the documents show (about 8 minutes)
	@for page in settings sql api cli; do $(BIN)/python -m tools.$${page}_page || exit 1; done
	@$(BIN)/pytest $(addprefix tests/,project/test_docs.py project/test_links.py project/test_snippets.py project/test_site.py \
	database/test_sql_of_documents.py project/test_reader.py)

site: $(READY)  ## Build the documents as a site into site/; a warning is an error
	@$(BIN)/python -m tools.site

site-serve: $(READY)  ## Build the site and show it at http://127.0.0.1:8000
	@$(BIN)/python -m tools.site --serve

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
