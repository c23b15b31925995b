# The one door for developers. `make` prints this help.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEEDS  ?= 200
WORKERS ?= 2
READY  := $(VENV)/.ready
SECRETS := .millrace/compose/secrets.env
COMPOSE := docker compose --env-file $(SECRETS) --file compose/compose.yaml
SERVICES := $(patsubst %/pyproject.toml,-e %,$(wildcard services/*/pyproject.toml))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo up down test native native-where-possible lint fmt test-fast test-integration test-frameworks test-faust test-flink test-spark test-s3 test-compose test-containers test-kubernetes test-notebook test-observability test-secrets test-native test-gpu images compose-up compose-down compose-demo simulate chaos bench bench-gpu bench-peers figures proto docs lock audit sbom clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment and fetch the broker's parts

$(READY): pyproject.toml constraints.txt $(wildcard services/*/pyproject.toml)
	@echo "setting up $(VENV): about a minute the first time"
	@test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q -c constraints.txt uv)
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group dev -e '.[registry,sklearn,lightgbm,redis,report,sql,traces,testing]' $(SERVICES)
	@touch $@

demo: $(READY) ## Run the weather story on a real Kafka, from nothing to a summary
	$(BIN)/python -m examples.weather

up: $(READY) ## Run the weather story, and leave it running with its web page
	$(BIN)/python -m examples.weather --keep

down: $(READY) ## Stop what `make up` left running
	MILLRACE_HOME=.millrace/demo $(BIN)/millrace down

test: lint native-where-possible ## Lint, type-check and run every test on a real broker (WORKERS=2 side by side)
	$(BIN)/python -m pytest --cache-clear -n $(WORKERS) --dist loadfile || $(BIN)/python -m tests.again

test-fast: $(READY) ## Only the tests that need no broker (seconds)
	$(BIN)/python -m pytest -m "unit or property or contract or simulation"

test-integration: $(READY) ## Only the tests that need a real broker (BROKER=container, or the address of one)
	$(if $(filter container,$(BROKER)),$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt testcontainers)
	$(BIN)/python -m pytest -m "integration or e2e" $(if $(BROKER),--broker $(BROKER))

test-frameworks: ## Export from PyTorch, Keras and XGBoost, in an environment of their own
	bash tests/frameworks/run.sh

test-faust: $(READY) ## Make windowed features with Faust, in an environment of its own
	bash topologies/faust/run.sh

test-spark: $(READY) ## Batch scoring and topics to tables on a real Spark, in an environment of its own
	bash topologies/spark/run.sh

test-flink: $(READY) ## Score and make features on a real Flink, in an environment of its own
	bash topologies/flink/run.sh

test-s3: $(READY) ## Batch scoring and copying on a real S3 server, which Go builds once
	bash tests/s3/run.sh

test-compose: $(READY) ## The weather story in containers, then a stack that loses and replaces its parts; needs Docker
	bash tests/compose/run.sh

test-containers: $(READY) ## Run processes of deployments in containers, and kill one; needs Docker
	bash tests/containers/run.sh

test-kubernetes: $(READY) ## Run processes in Pods of a real API server, which Go builds once
	bash tests/kubernetes/run.sh

test-notebook: $(READY) ## Start JupyterLab by the launcher, in an environment of its own, and score from its kernel
	bash tests/notebook/run.sh

test-observability: $(READY) ## Alert rules and dashboards; the rules' own tests need promtool (Debian: prometheus)
	@command -v promtool > /dev/null || { echo "promtool is not installed: apt-get install prometheus"; exit 1; }
	$(BIN)/python -m pytest tests/contract/test_alert_rules.py tests/contract/test_observability.py

test-secrets: $(READY) ## Run all services with secrets in their settings, and search everything that they leave for them
	MILLRACE_SECRETS=1 $(BIN)/python -m pytest tests/e2e/security

test-native: native ## Everything about the native body: clippy, its own tests, lanes, decoders, scorers, chaos
	PYO3_PYTHON=$(abspath $(BIN)/python) bash native/check.sh
	$(BIN)/python -m pytest tests/integration/lane tests/property/codec
	MILLRACE_LANE=native $(BIN)/python -m pytest services/scorer/tests/integration
	$(BIN)/python -m tests.chaos --lane native

test-gpu: $(READY) ## The tests that need an accelerator
	$(BIN)/python -m pytest -m gpu

native: $(READY) ## Build the native body of the lane into the virtual environment, which needs cargo
	cd native && PATH="$(abspath $(BIN)):$$PATH" VIRTUAL_ENV=$(abspath $(VENV)) maturin develop -q --uv --release --locked

native-where-possible: $(READY)
	@if command -v cargo > /dev/null && command -v cc > /dev/null && (cd native && cargo fetch -q --locked); \
	  then PYO3_PYTHON=$(abspath $(BIN)/python) bash native/check.sh && $(MAKE) native; \
	  else echo "no cargo, no linker or no crates: only the Python body of the lane is tested"; fi

lint: $(READY) ## Check style, types and import contracts (writes nothing)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

fmt: $(READY) ## Format and fix what can be fixed
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

$(SECRETS):
	@mkdir -p $(@D) && umask 077 && $(PYTHON) compose/new_secrets.py > $@

images: ## Build the images of all services (MILLRACE_BUILD_NETWORK=host where containers reach no index)
	docker compose --file compose/images.yaml build

compose-up: $(SECRETS) ## Start three brokers, two nodes, a gateway and Redis in containers (PROFILES="--profile ui")
	$(COMPOSE) $(PROFILES) up --build --detach --wait

compose-down: $(SECRETS) ## Stop all containers of the stack; their data stays
	$(COMPOSE) --profile '*' down

compose-demo: $(SECRETS) ## Run the weather story on three fresh brokers in containers, and remove them
	$(COMPOSE) --project-name millrace-story --profile demo run --build --rm demo; \
	  told=$$?; $(COMPOSE) --project-name millrace-story --profile '*' down --volumes; exit $$told

simulate: $(READY) ## Simulate crashes and rebalances on the in-memory log (SEEDS=200)
	$(BIN)/python -m pytest tests/simulation --seeds $(SEEDS)

chaos: $(READY) ## Kill and freeze real scorers at full size; one JSON line of results
	$(BIN)/python -m tests.chaos
	$(BIN)/python -m pytest tests/e2e/launcher/test_fleet.py -k stops_and_starts --restarts 20
	MILLRACE_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest services/gateway/tests/integration/test_fuzz.py services/gateway/tests/integration/test_websocket_fuzz.py --timeout=7200
	MILLRACE_BATCH_ROWS=10000000 $(BIN)/python -m pytest tests/acceptance/test_batch.py --timeout=1800
	MILLRACE_UPLOAD_MIB=2048 $(BIN)/python -m pytest services/gateway/tests/integration/test_uploads.py

bench: $(READY) ## Measure the scorer beside other loops, the gateway beside MLServer; one JSON line each
	$(BIN)/python -m tests.perf
	$(BIN)/python -m tests.perf.serving
	$(BIN)/python -m tests.perf.batch

bench-gpu: $(READY) ## Measure models on an accelerator beside the CPU and plain ONNX Runtime, in every precision
	$(BIN)/python -m tests.perf.gpu

bench-peers: $(READY) ## Measure the scorer beside Java, Kafka Streams, Quix, Bytewax, Faust and MLServer on one topic
	$(BIN)/python -m tests.perf.peers --minutes 6
	$(BIN)/python -m tests.perf.peers --cells trees-30 --repetitions 1 --minutes 2 --who relay native scorer java
	$(BIN)/python -m tests.perf.peers --transactions 1000 5000 --minutes 3 --who relay native scorer
	$(BIN)/python -m tests.perf.peers --rate 5000 --who relay native scorer java-whole

proto: $(READY) ## Make Python of the gateway's gRPC messages
	$(BIN)/python services/gateway/proto/generate.py

figures: $(READY) ## Measure the auditor's bars at full size; one JSON line each (FIGURES="bar_6 bar_15")
	PYTHONPATH=services/auditor/tests/kit:services/scorer/tests/kit:services/trainer/tests/kit $(BIN)/python -m tests.audit_figures $(FIGURES)

docs: $(READY) ## Generate the reference pages and the AsyncAPI document
	$(BIN)/python -m docs.generate

lock: $(READY) ## Resolve every package again into constraints.txt
	$(BIN)/uv pip compile -q --no-header --no-annotate --all-extras --group dev pyproject.toml services/*/pyproject.toml | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt

audit: $(READY) ## Look for known weaknesses of constraints.txt in the index (ADVISORIES=FOLDER: in files of OSV's format)
	$(if $(ADVISORIES),$(BIN)/python -m tests.advisories $(ADVISORIES),$(BIN)/uv tool run pip-audit -r constraints.txt --no-deps --disable-pip --strict)

sbom: $(READY) ## Write sbom.json, the bill of materials of constraints.txt, as CycloneDX
	$(BIN)/uv tool run --from cyclonedx-bom cyclonedx-py requirements constraints.txt --of JSON -o sbom.json

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
