# Every target sets up what it needs in .venv. Python 3.10 or newer, make and git are enough.
#
#   make test PYTHON=python3.12                          another interpreter
#   make train preset=sinusoid run_dir=/tmp/sinusoid     another preset, another place
#   make test workers=8                                  more processes for the tests

PYTHON ?= python3
preset ?= glyphs_5way_1shot
run_dir ?= runs/$(preset)
workers ?= 2
port ?= 7860
versions ?= lowest-direct highest pre-release

VENV := .venv
PEERS := .venv-peers
DOCS := .venv-docs
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
export KERAS_BACKEND := tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: $(VENV)/installed-dev ## Create .venv and install the package with its development tools.

.PHONY: train
train: $(VENV)/installed ## Meta-train on drawn characters, without a download (preset=..., run_dir=...).
	$(BIN)/python -m trainers.train --flagfile=trainers/presets/$(preset).flags --run_dir=$(run_dir)

.PHONY: demo
demo: $(VENV)/installed-demo ## Open a page on this machine: draw characters, and a learner has learned them (port=...).
	$(BIN)/python -m trainers.demo --port=$(port)

PYTEST := $(BIN)/python -m pytest -n $(workers) --dist worksteal --durations 20

.PHONY: check
check: lint ## Check style and types, then run the quick tests that the change touches (since=REV).
	@tests="$$($(BIN)/python -m tests.changed $(since))"; \
	  if [ -z "$$tests" ]; then echo "No test touches the change"; \
	  else $(PYTEST) -m "not slow" $$tests; fi

.PHONY: test
test: lint ## Check style and types, then run the quick tests.
	$(PYTEST) -m "not slow"

.PHONY: test-slow
test-slow: $(VENV)/installed-dev ## Run the slow tests.
	$(PYTEST) -m slow

.PHONY: test-all
test-all: lint ## Check style and types, then run all tests.
	$(PYTEST)

.PHONY: browser
browser: $(VENV)/installed-dev ## Put a Chromium for the tests into .browser, without root; needs npm.
	@$(BIN)/python -m tests.demo.browser

.PHONY: coverage
coverage: $(VENV)/installed-dev ## Print the branch coverage of the quick tests.
	$(PYTEST) -m "not slow" --cov keras_imaml --cov-branch --cov-report term

.PHONY: mutants
mutants: $(VENV)/installed-dev ## Print how many small faults in the mathematics the tests notice.
	$(BIN)/python -m tests.mutants --workers $(workers)

# The tests see the wheel's package, and not the one of the checkout.
# That of a pre-release of Keras is for information: it may fail.
OF_SOURCES := $(addprefix --ignore=tests/test_,build_file.py architecture.py prose.py)
.PHONY: test-wheel
test-wheel: $(VENV)/installed-dev ## Run the quick tests on the wheel, with the oldest and the newest packages.
	rm -rf build dist && mkdir -p build/checkout
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	git ls-files | grep -v '^keras_imaml/' | tar -c -T - | tar -x -C build/checkout
	@set -e; for versions in $(versions); do \
	  python=.venv-$$versions/bin/python; resolution=$$versions; \
	  if [ $$versions = pre-release ]; then resolution=highest; fi; \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$$versions; \
	  $(BIN)/uv pip compile --quiet --python $$python --resolution $$resolution --extra dev setup.py -o build/$$versions.txt; \
	  if [ $$versions = pre-release ]; then \
	    echo 'keras>=3.13.0.dev0' | $(BIN)/uv pip compile --quiet --python $$python --prerelease allow --no-deps - -o build/keras.txt; \
	    keras=$$(sed -n 's/^keras==//p' build/keras.txt); \
	    case "$$keras" in *[a-z]*) sed -i.bak "s/^keras==.*/keras==$$keras/" build/$$versions.txt ;; \
	      *) echo "There is no pre-release of Keras: the newest version is $$keras"; continue ;; esac; \
	  fi; \
	  echo "Testing the wheel with the $$versions versions of what it needs"; \
	  $(BIN)/uv pip install --quiet --python $$python --requirement build/$$versions.txt; \
	  $(BIN)/uv pip install --quiet --python $$python --no-deps dist/*.whl; \
	  (cd build/checkout && ../../$$python -m pytest -n $(workers) -m "not slow" $(OF_SOURCES) $(tests)) \
	    || { [ $$versions = pre-release ] && echo "Keras $$keras fails: that is allowed"; }; \
	done

# Headings and code repeat words and have straight quotes: .proselintrc.json leaves those checks out.
.PHONY: lint
lint: $(VENV)/installed-dev ## Check style, types and prose.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers auto
	$(BIN)/proselint check --config .proselintrc.json *.md docs/*.md docs/guides/*.py saved_models/*.md

.PHONY: format
format: $(VENV)/installed-dev ## Sort imports, fix what can be fixed, and format.
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

.PHONY: docs
docs: $(DOCS)/installed ## Build the documentation site into build/site; a broken link is an error.
	$(DOCS)/bin/mkdocs build

.PHONY: docs-serve
docs-serve: $(DOCS)/installed ## Show the site on this machine while you write it.
	$(DOCS)/bin/mkdocs serve

.PHONY: lighthouse
lighthouse: docs ## Rate five pages of the site by Lighthouse; needs npx and Chromium.
	$(DOCS)/bin/python -m docs.lighthouse

.PHONY: notebooks
notebooks: $(VENV)/installed-dev ## Run the guides and write their notebooks (guides="learn_lambda ...").
	$(BIN)/python -m docs.notebooks $(guides)

.PHONY: bazel
bazel: $(VENV)/installed-dev ## Build and test with Bazel (docs/bazel.md).
	@command -v bazel >/dev/null || { echo "bazel is not installed: see docs/bazel.md" >&2; exit 1; }
	bazel build //...
	bazel test //...

.PHONY: peers
peers: $(PEERS)/installed ## Create .venv-peers with PyTorch, TorchOpt and JAX, for benchmark-speed.

.PHONY: benchmark-speed
benchmark-speed: $(VENV)/installed $(PEERS)/installed ## Time our meta-step beside theirs (arguments=...).
	$(BIN)/python -m benchmarks.speed.meta_step --peers_python=$(PEERS)/bin/python --at_least=2 $(arguments)

.PHONY: bilevel
bilevel: $(VENV)/installed $(PEERS)/installed-bilevel ## Compare meta-gradients with those of TorchOpt, Betty, JAXopt and higher.
	$(BIN)/python -m benchmarks.accuracy.bilevel --peers_python=$(PEERS)/bin/python $(arguments)

.PHONY: clean
clean: ## Remove caches and build products; .venv and runs stay.
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f bazel-*
	find keras_imaml trainers tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

# Installs the package with an extra such as [dev]. uv takes half of the time of pip. It does not read
# the index that pip is set to: there pip installs, and so it does where uv cannot. pip would compile
# on one core, which is half of its time. Templates of packages do not compile.
define INSTALL
@echo "Installing keras_imaml$(1) into $(VENV): TensorFlow takes a few minutes the first time"
@{ ! $(PIP) config list | grep -q '[.]index-url=' \
    && $(PIP) install --quiet --quiet 'uv>=0.5' \
    && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --editable '.$(1)'; } \
  || { $(PIP) install --quiet --quiet --no-compile --editable '.$(1)' \
    && { $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true; }; }
endef

# pip is the last thing that venv makes, so that a half-made environment is not taken for a whole one.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is not Python 3.10 or newer. Choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create virtual environments." \
	    "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@# The pip of Python 3.10 searches for many minutes where a newer one needs seconds.
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet --upgrade pip

$(VENV)/installed: setup.py | $(BIN)/pip
	$(call INSTALL,)
	@touch $@

$(VENV)/installed-dev $(VENV)/installed-demo: $(VENV)/installed-%: setup.py | $(BIN)/pip
	$(call INSTALL,[$*])
	@touch $(VENV)/installed $@

# The site is built without TensorFlow.
$(DOCS)/installed: docs/requirements.txt
	@echo "Installing the tools of the site into $(DOCS)"
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/pip --disable-pip-version-check install --quiet --quiet --requirement $<
	@touch $@

# The folder ignores itself: it is neither source nor linted.
$(PEERS)/installed: benchmarks/speed/peers/requirements.txt | $(BIN)/pip
	@echo "Installing the peers into $(PEERS); a CPU build of torch is enough: see $<"
	@$(PYTHON) -m venv $(PEERS)
	@echo '*' > $(PEERS)/.gitignore
	@$(PEERS)/bin/pip --disable-pip-version-check install --quiet --quiet --requirement $<
	@touch $@

$(PEERS)/installed-bilevel: benchmarks/accuracy/peers/requirements.txt $(PEERS)/installed
	@$(PEERS)/bin/pip --disable-pip-version-check install --quiet --quiet --requirement $<
	@touch $@
