# The verbs of the kit. `make` alone lists them.

DATA   ?=
RECIPE ?= compact
RUN    ?= outputs/runs/$(notdir $(basename $(RECIPE)))
STORE  ?= outputs/stores/$(or $(notdir $(abspath $(DATA))),competition)
FOLDS  ?=
EEGS   ?= 300
SEED   ?= 0
CLARITY ?= 1

# the first interpreter that the kit supports
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)

VENV  := .venv
BIN   := $(VENV)/bin
HBAC  := $(BIN)/python -m hbac_utils
READY := $(VENV)/.ready
PIP   := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
# a file that is not the tested one is refused; what is built here is built by pinned tools, too
LOCKED := $(PIP) --require-hashes --no-build-isolation --requirement

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow torture test-kaggle coverage lint format synth pack eda train infer blend tta html score \
	data stage push status logs output submit sweep sweep-report \
	bench bench-pipeline bench-sweeps bench-blending lock audit licences clean

help: ## list the verbs
	@echo "make VERB [VARIABLE=value …]"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'
	@echo; echo "  DATA=competition folder  RECIPE=$(RECIPE)  RUN=$(RUN)"
	@echo "  FOLDS=such as 0,2  OUT=where a verb writes  STORE=$(STORE)"

# -- the environment ---------------------------------------------------------

$(READY): constraints/build.txt constraints/tested.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=…" >&2; exit 2; }
	@echo "installing into $(VENV) with $$($(PYTHON) --version); this takes a few minutes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(LOCKED) constraints/build.txt
	@$(LOCKED) constraints/tested.txt
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable .
	@$(BIN)/python -m pip --disable-pip-version-check check
	@touch $@

# -- two commands that do everything -----------------------------------------

DEMO := outputs/demo

demo: $(READY) ## synthesize a small competition, train, predict and score it
	@rm -rf $(DEMO)
	@$(HBAC) synth --out $(DEMO)/competition --eegs 360 --patients 180 --seed 7 --clarity 5
	@$(HBAC) pack --data $(DEMO)/competition --recipe demo --out $(DEMO)/store
	@$(HBAC) eda --data $(DEMO)/competition --out $(DEMO)
	@$(HBAC) train --data $(DEMO)/competition --store $(DEMO)/store --recipe demo --run $(DEMO)
	@$(HBAC) infer --data $(DEMO)/competition --run $(DEMO) --out $(DEMO)
	@echo; echo "out of fold, on the training patients"
	@$(HBAC) scores $(DEMO)
	@echo; echo "submission.csv, on the test patients"
	@$(HBAC) score $(DEMO)/submission.csv $(DEMO)/competition_truth/solution.csv \
		--run $(DEMO) --truth $(DEMO)/competition_truth/truth.parquet
	@echo; echo "all of it lies in $(DEMO): eda.html, training.html, inference.html, metrics.json, submission.csv"

TESTS := -m "not slow and not torture" -n 2 --dist worksteal

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest $(TESTS) $(ARGS)

test-slow: $(READY) ## train every recipe for an epoch: minutes each
	@$(BIN)/python -m pytest -m slow $(ARGS)

torture: $(READY) ## kill, fill disks, turn clocks, and count what survives: SEED= TABLE=FILE
	@SEED=$(SEED) $(BIN)/python -m pytest -m torture -n 2 --dist worksteal \
		$(if $(TABLE),--table="$(TABLE)") $(ARGS)

# the versions of Kaggle's image want its Python; the kit is not installed there but on the path
KAGGLE_VENV := .venv-kaggle
KAGGLE_PYTHON ?= $(shell for p in python3.12 "$$(pyenv prefix 3.12 2>/dev/null)/bin/python3.12"; do \
	$$p -c '' 2>/dev/null && echo $$p && break; done)
KAGGLE_PIP := $(KAGGLE_VENV)/bin/python -m pip --disable-pip-version-check install --quiet

# nothing of Kaggle's makes way for a tool of the tests; those that it has not are the pinned ones
KAGGLE_TOOLS := function key(name) { name = tolower(name); gsub(/[_.]/, "-", name); return name } \
	NR == FNR { there[key($$1)]; print; next } \
	/^[a-z]/ && !(key($$1) in there) { sub(/ *\\$$/, ""); print }

$(KAGGLE_VENV)/.ready: requirements.txt requirements-dev.txt constraints/kaggle.txt constraints/tested.txt
	@echo "installing Kaggle's versions into $(KAGGLE_VENV); this takes a few minutes, once"
	@test -x $(KAGGLE_VENV)/bin/python || $(KAGGLE_PYTHON) -m venv $(KAGGLE_VENV)
	@$(KAGGLE_PIP) --requirement requirements.txt --constraint constraints/kaggle.txt
	@$(KAGGLE_VENV)/bin/python -m pip --disable-pip-version-check freeze > $(KAGGLE_VENV)/there.txt
	@awk -F == '$(KAGGLE_TOOLS)' $(KAGGLE_VENV)/there.txt constraints/tested.txt > $(KAGGLE_VENV)/tools.txt
	@$(KAGGLE_PIP) --requirement requirements-dev.txt --constraint $(KAGGLE_VENV)/tools.txt
	@touch $@

test-kaggle: ## run the tests with the versions of Kaggle's image (where there is a Python 3.12)
	@if test -z "$(KAGGLE_PYTHON)" && ! test -x $(KAGGLE_VENV)/bin/python; then \
		echo "SKIPPED test-kaggle: no python3.12 found; name one: make test-kaggle KAGGLE_PYTHON=…" >&2; \
	else \
		$(MAKE) --silent --no-print-directory $(KAGGLE_VENV)/.ready KAGGLE_PYTHON="$(KAGGLE_PYTHON)" && \
		PYTHONPATH=$(CURDIR) $(KAGGLE_VENV)/bin/python -m pytest $(TESTS) $(ARGS); \
	fi

# -- the steps, one by one ---------------------------------------------------

synth: $(READY) ## write a synthetic competition: OUT= EEGS= PATIENTS= SEED= CLARITY= EVEN=1
	@$(HBAC) synth --out $(or $(OUT),outputs/synthetic) --eegs $(EEGS) --seed $(SEED) --clarity $(CLARITY) \
		$(if $(PATIENTS),--patients $(PATIENTS)) $(if $(EVEN),--even)

pack: $(READY) ## pack a competition folder into a store: DATA= RECIPE= STORE= LIMIT= MIN_VOTES= DASK=
	@$(HBAC) pack --data "$(DATA)" --recipe $(RECIPE) --out $(or $(OUT),$(STORE)) \
		$(if $(LIMIT),--limit $(LIMIT)) $(if $(MIN_VOTES),--min-votes $(MIN_VOTES)) \
		$(if $(DASK),--dask $(DASK))

eda: $(READY) ## look at a competition: DATA= OUT=
	@$(HBAC) eda --data "$(DATA)" --out $(or $(OUT),outputs/eda)

train: $(READY) ## train a recipe, or go on with it: DATA= RECIPE= RUN= FOLDS= STORE= HOURS=
	@$(HBAC) train --data "$(DATA)" --store $(STORE) --recipe $(RECIPE) --run $(RUN) --folds "$(FOLDS)" \
		$(if $(HOURS),--max-hours $(HOURS))

infer: $(READY) ## predict a test folder with a run, or several: DATA= RUN= BLEND= OUT=
	@$(HBAC) infer --data "$(DATA)" --run $(RUN) --out $(or $(OUT),outputs/inference) \
		$(if $(BLEND),--blend $(BLEND))

blend: $(READY) ## blend runs and other models' out-of-fold files: RUNS="a b c" DATA= OUT= METHOD= COMMON=1 MAPPING=
	@$(HBAC) blend $(or $(RUNS),$(error name two or more: RUNS="outputs/runs/a outputs/runs/b")) \
		--data "$(DATA)" --out $(or $(OUT),outputs/blend) $(if $(METHOD),--method "$(METHOD)") \
		$(if $(COMMON),--common) $(if $(MAPPING),--columns $(MAPPING))

tta: $(READY) ## measure what test-time changes of recordings would gain: RUN= STORE=
	@$(HBAC) tta $(RUN) --store $(STORE)

html: $(READY) ## make pages of the executed notebooks in OUT= or RUN=, or of all in outputs/
	@$(HBAC) html $(or $(OUT),$(if $(filter command%,$(origin RUN)),$(RUN)),outputs)

score: $(READY) ## score a submission: SUBMISSION= SOLUTION=
	@$(HBAC) score $(or $(SUBMISSION),outputs/inference/submission.csv) \
		$(or $(SOLUTION),$(error name the true votes: SOLUTION=…/solution.csv))

# -- Kaggle: docs/kaggle.md --------------------------------------------------

NB ?= inference
WAIT := $(if $(MINUTES),--minutes $(MINUTES))

data: $(READY) ## download the competition, 26 GB: OUT=
	@$(HBAC) data --out "$(or $(OUT),outputs/hms-harmful-brain-activity-classification)"

stage push: $(READY)
	@$(HBAC) $@ $(NB) $(foreach setting,$(SET),--set '$(setting)') $(if $(BLEND),--blend $(BLEND))

stage: ## write build/NB as it would be pushed: NB=inference|training|eda SET="name=value …"
push: ## push a notebook to Kaggle, where it runs: NB= SET="recipe=waveform-b3 folds=0" BLEND=

status logs submit: $(READY)
	@$(HBAC) $@ $(NB) $(WAIT)

status: ## wait until the pushed version has run: NB= MINUTES=
logs: ## likewise, and show what it printed: NB= MINUTES=
output: $(READY) ## likewise, and fetch what it wrote: NB= MINUTES= OUT=
	@$(HBAC) output $(NB) $(WAIT) $(if $(OUT),--out "$(OUT)")
submit: ## submit the pushed version and wait for its score: NB= MINUTES=

# -- many trainings: docs/sweeps.md ------------------------------------------

SWEEP_OPTIONS = $(or $(SWEEP),$(error name a sweep: SWEEP=sweeps/batch-size.yaml)) \
	$(if $(REDUCED),--reduced) $(if $(OUT),--out "$(OUT)")
export HBAC_STORAGE ?= $(STORAGE)

sweep: $(READY) ## run a parameter sweep, or go on: SWEEP= DATA= WORKERS= REDUCED=1 STORAGE= DASK= KAGGLE=1
	@$(HBAC) sweep $(SWEEP_OPTIONS) $(if $(KAGGLE),--kaggle,--data "$(DATA)" --store $(STORE)) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(DASK),--dask $(DASK)) \
		$(if $(RETRY_FAILED),--retry-failed)

sweep-report: $(READY) ## write a sweep's page again: SWEEP= REDUCED=1 STORAGE=
	@$(HBAC) sweep-report $(SWEEP_OPTIONS)

# -- measuring ---------------------------------------------------------------

bench: bench-pipeline bench-sweeps bench-blending ## measure all that follows: an hour and more

bench-pipeline: $(READY) ## measure the pipeline against yardsticks: GROWTH=200,800,3200 DATA=
	@$(BIN)/python benchmarks/pipeline.py $(if $(GROWTH),--growth $(GROWTH)) $(if $(DATA),--data "$(DATA)")

bench-sweeps: $(READY) ## run the paper's sweeps at reduced size; weigh two workers: DATA=
	@$(BIN)/python benchmarks/sweeps.py $(if $(DATA),--data "$(DATA)")

bench-blending: $(READY) ## blend 50 members of 107,000 rows; members that are noise
	@$(BIN)/python benchmarks/blending.py

# -- care of the code --------------------------------------------------------

lint: $(READY) ## check code and notebooks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

format: $(READY) ## format code, strip notebooks
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/nbstripout notebooks/*.ipynb

coverage: $(READY) ## run the tests and list the lines that none reaches
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

# -- what the kit stands on: docs/dependencies.md -----------------------------

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

lock: $(READY) ## pin all dependencies with the hashes of their files; the pins there are stay: UPGRADE=1
	@$(LOCK) requirements.txt requirements-dev.txt --output-file constraints/tested.txt
	@printf 'setuptools\nwheel\n' | \
		$(LOCK) - --constraints constraints/tested.txt --output-file constraints/build.txt

audit: $(READY) ## ask which dependencies have known weaknesses; a report, never a failure
	@$(BIN)/python constraints/audit.py constraints/tested.txt constraints/kaggle.txt

licences: $(READY) ## list the licence of every dependency in docs/licences.md
	@$(BIN)/python constraints/licences.py constraints/tested.txt docs/licences.md

clean: ## remove outputs, builds and caches (not the environment)
	@rm -rf outputs build dist *.egg-info .pytest_cache .ruff_cache .coverage
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo "removed outputs, builds and caches; $(VENV) stays"
