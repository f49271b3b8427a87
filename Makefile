# Everything here sets up what it needs first: a fresh machine needs Python 3.11 and make, no more.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SITE   := .venv-site/.ready

# Tests wait for other processes for half of their time
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))

# Tests start hundreds of Pythons: each would compile oddwire anew if none might write down what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test long lint types docs site pictures bench fuzz hostile soak soak-cluster lnd programs format setup clean coverage matrix dist

help:                 ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

setup: $(READY)       ## make the virtual environment and install oddwire and its tools
$(READY): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable . --group dev
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --group peers
	@# setuptools finds two source roots by a finder, which takes each Python half of its start; two paths do the same
	@printf '%s\n' "$(CURDIR)/framework" "$(CURDIR)/extensions" > "$$(echo $(VENV)/lib/python3.*/site-packages/__editable__.oddwire-*.pth)"
	@touch $@

demo: $(READY)        ## two processes talk over real BOLT 8 on loopback, and say what they sent
	@$(BIN)/oddwire demo

test: $(READY)        ## run every test that can run here, but for the long ones; what fails beside others is run once more, alone, and named
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m tests.suite -n $(WORKERS) --dist worksteal -m "not long"

long: $(READY)        ## run the tests that take long: attacks by strangers, kills around every write, fleets
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest -n auto --dist worksteal -o faulthandler_timeout=3600 -m long

lint: $(READY)        ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)       ## check types, mypy strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright

docs: $(READY)        ## run every code block of the README and the docs
	$(BIN)/python -m pytest tests/docs

site: $(SITE)         ## build docs/ into site/, which needs no network to be read; broken links, anchors and names fail
	PYTHONPATH="$(CURDIR)" NO_COLOR=1 .venv-site/bin/zensical build --strict --clean
	.venv-site/bin/python -m publishing.check site
$(SITE): pyproject.toml
	$(PYTHON) -m venv --clear .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-site/bin/python -m pip install -qq --disable-pip-version-check --group site
	@touch $@

pictures: $(READY)    ## make the pictures of the README and the docs anew, from the programs as they are
	$(BIN)/python -m publishing.pictures

bench: $(READY)       ## measure, as ratios taken in one run; writes benchmarks/results.json
	$(BIN)/python -m benchmarks

fuzz: $(READY)        ## a long fuzzing run; SECONDS_EACH=60 sets how long each target runs
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS_EACH),60)

hostile: $(READY)     ## attack a node in every known way; SECONDS_EACH=3 sets how long each attack is watched
	$(BIN)/python -m tests.hostile --seconds $(or $(SECONDS_EACH),3)

soak: $(READY)        ## ten rough minutes for the embedded node, 200 kills for reliable messages, 36 through lightningds, 48 of several plugins, 6 for a file of 1 GB; SECONDS_ALL, KILLS, ROUNDS
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS_ALL),600)
	$(BIN)/python -m tests.soak.reliable --kills $(or $(KILLS),200) --messages $(or $(MESSAGES),20000)
	$(BIN)/python -m tests.soak.lightningds --rounds $(or $(ROUNDS),12)
	$(BIN)/python -m tests.soak.programs --rounds $(or $(ROUNDS),12)
	$(BIN)/python -m tests.soak.programs --rounds $(or $(ROUNDS),12) --kind lightningd
	$(BIN)/python -m tests.soak.filedrop --megabytes $(or $(MEGABYTES),1000)

soak-cluster: $(READY) ## kill, freeze and restart broker, gateway and workers of a cluster, 200 times under load; KILLS, MESSAGES, SEED
	$(BIN)/python -m tests.soak.cluster --kills $(or $(KILLS),200) --messages $(or $(MESSAGES),20000) $(if $(SEED),--seed $(SEED))

lnd: $(READY)         ## where lnd is: an hour idle beside it, 20 kills for reliable messages through two, 5 rounds of four kinds of nodes; SECONDS_IDLE, KILLS, ROUNDS
	$(BIN)/python -m tests.soak.lnds --kills $(or $(KILLS),20) --messages $(or $(MESSAGES),2000)
	$(BIN)/python -m tests.soak.everywhere --rounds $(or $(ROUNDS),5)
	$(BIN)/python -m tests.soak.idle --seconds $(or $(SECONDS_IDLE),3600)

programs: $(READY)    ## start several plugins of two nodes in every order, all talking at once; KIND=lightningd for Core Lightning
	$(BIN)/python -m tests.interop.programs --kind $(or $(KIND),node)

coverage: $(READY)    ## the tests in this process's reach, with line and branch coverage; fails under the floors in tests/coverage_floors.toml
	rm -f .coverage .coverage.*
	PYTHONASYNCIODEBUG= $(BIN)/coverage run -m pytest -q -n auto --dist worksteal -m "not long" -p tests.coverage_gate tests/unit tests/properties
	$(BIN)/coverage combine --quiet
	$(BIN)/python -m tests.coverage_gate

matrix: $(READY)      ## the unit tests on Python 3.11 to 3.14, as far as they are here
	$(BIN)/python -m tests.matrix

dist: $(READY)        ## build wheel and source distribution, and try the wheel alone in a fresh environment
	$(BIN)/python -m tests.dist

format: $(READY)      ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:                ## remove what the other targets made
	rm -rf $(VENV) .venv-matrix .venv-site site .cache .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info tests/interop/node/node_modules
