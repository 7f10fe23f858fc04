# A thin layer over the `hbac` command: `make` lists the verbs, variables are the options' names.

# -- variables ----------------------------------------------------------------------------
# A verb takes the variables in its line of help. The shell gets them from the environment, so
# that values may have blanks and other signs in them.
space := $() $()
TAKES := $(sort $(shell grep -E '^($(or $(subst $(space),|,$(MAKECMDGOALS)),help)):.*\#\# ' Makefile | \
	grep -oE '[A-Z_]+=' | tr -d =))
$(foreach name,$(TAKES),$(if $(value $(name)),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

ALLOWED := $(TAKES) ARGS PYTHON KAGGLE_PYTHON VENV HBAC SHELL V VERBOSE CC CXX CFLAGS CXXFLAGS LDFLAGS MAKEFLAGS
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(ALLOWED),$(GIVEN))
VERBS := $(shell grep -oE '^[a-z-]+:' Makefile | tr -d :)
ifneq ($(filter-out $(VERBS) %.ready,$(MAKECMDGOALS)),)
$(error no verb $(filter-out $(VERBS),$(MAKECMDGOALS)): `make` lists them)
endif
ifneq ($(UNKNOWN),)
$(error $(or $(MAKECMDGOALS),make) takes no $(addsuffix =,$(UNKNOWN)); \
	it takes $(or $(addsuffix =,$(TAKES)),no variables: `make` lists the verbs))
endif

# --name "value" if the variable is set; --name alone; the value, which must be set
option = $(if $($2),--$1 "$$$2")
flag   = $(if $($2),--$1)
needed = $(if $($1),"$$$1",$(error name $2))

# the environment holds the pinned packages, and nothing of the user's
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PIP_TARGET PIP_PREFIX
export PIP_USER := 0

# the first interpreter that is supported
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)

VENV  := .venv
BIN   := $(VENV)/bin
HBAC  := $(BIN)/hbac
READY := $(VENV)/.ready
PIP   := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
# only files with the tested hashes are installed; what is built here is built by pinned tools
LOCKED := $(PIP) --require-hashes --no-build-isolation --requirement

.DEFAULT_GOAL := help
.PHONY: $(VERBS)

help: ## list the verbs
	@echo "make VERB [VARIABLE=value …]"; echo; grep -hE '^[a-z-]+:.*## ' Makefile | \
		awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'
	@echo; echo "  DATA=competition folder  RECIPE=compact  RUN=outputs/runs/RECIPE  STORE=outputs/stores/DATA"

# -- environment -------------------------------------------------------------------------
# an environment without pip, or whose Python is gone, not supported or not PYTHON, is made again
FITS := $(BIN)/python -c 'import pip; $(SUPPORTED)' 2>/dev/null $(if $(filter command,$(origin PYTHON)),&& \
	test "$$($(BIN)/python --version)" = "$$("$(PYTHON)" --version 2>/dev/null)")
ifneq ($(wildcard $(READY)),)
$(shell $(FITS) || rm -f $(READY))
endif

$(READY): constraints/build.txt constraints/tested.txt pyproject.toml requirements.txt
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "$(or $(PYTHON),PYTHON): no Python 3.11, 3.12 or 3.13; name one: make PYTHON=…" >&2; exit 2; }
	@echo "installing into $(VENV) with $$("$(PYTHON)" --version); this takes a few minutes, once"
	@{ $(FITS); } || "$(PYTHON)" -m venv --clear $(VENV)
	@$(LOCKED) constraints/build.txt
	@$(LOCKED) constraints/tested.txt
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable .
	@$(BIN)/python -m pip --disable-pip-version-check check
	@touch $@

# -- demo and tests -----------------------------------------------------------------------
DEMO := outputs/demo
demo: $(READY) ## simulate a small competition, train, predict and score
	@rm -rf $(DEMO)
	@$(HBAC) synth --out $(DEMO)/competition --eegs 360 --patients 180 --seed 7
	@$(HBAC) pack --data $(DEMO)/competition --recipe demo --out $(DEMO)/store
	@$(HBAC) eda --data $(DEMO)/competition --out $(DEMO)
	@$(HBAC) train --data $(DEMO)/competition --store $(DEMO)/store --recipe demo --run $(DEMO)
	@$(HBAC) infer --data $(DEMO)/competition --run $(DEMO) --out $(DEMO)
	@echo; echo "out of fold, on the training patients"; $(HBAC) scores $(DEMO)
	@$(HBAC) infer --data $(DEMO)/competition --run simulated --out $(DEMO)/before
	@echo; echo "on the test patients, the model in the package, before it was fine-tuned"
	@$(HBAC) score $(DEMO)/before/submission.csv $(DEMO)/competition_truth/solution.csv
	@echo; echo "submission.csv: on the test patients, after it"
	@$(HBAC) score $(DEMO)/submission.csv $(DEMO)/competition_truth/solution.csv \
		--run $(DEMO) --truth $(DEMO)/competition_truth/truth.parquet
	@echo; echo "results in $(DEMO): eda.html, training.html, inference.html, metrics.json, submission.csv"

TESTS := -m "not slow and not faults" -n 2 --dist loadfile
test: $(READY) ## run the tests: ARGS=
	@$(BIN)/python -m pytest $(TESTS) $(ARGS)

test-slow: $(READY) ## run the tests that take minutes each, half an hour in all: ARGS=
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-faults: $(READY) ## kill processes, fill disks, and count what survives (up to an hour): SEED= ARGS=
	@SEED=$(or $(SEED),0) $(BIN)/python -m pytest -m faults -n 2 --dist worksteal tests/faults $(ARGS)

# Kaggle's versions need Kaggle's Python; the package is not installed there but on the path
KAGGLE_VENV := .venv-kaggle
KAGGLE_PYTHON ?= $(shell for p in python3.12 "$$(pyenv prefix 3.12 2>/dev/null)/bin/python3.12"; do \
	$$p -c '' 2>/dev/null && echo $$p && break; done)
KAGGLE_PIP := $(KAGGLE_VENV)/bin/python -m pip --disable-pip-version-check install --quiet

# test tools do not replace a package of Kaggle's; those that Kaggle lacks get the pinned version
KAGGLE_TOOLS := function key(name) { name = tolower(name); gsub(/[_.]/, "-", name); return name } \
	NR == FNR { there[key($$1)]; print; next } \
	/^[a-z]/ && !(key($$1) in there) { sub(/ *\\$$/, ""); print }

$(KAGGLE_VENV)/.ready: requirements.txt requirements-dev.txt constraints/kaggle.txt constraints/tested.txt
	@echo "installing Kaggle's versions into $(KAGGLE_VENV); this takes a few minutes, once"
	@test -x $(KAGGLE_VENV)/bin/python || $(KAGGLE_PYTHON) -m venv $(KAGGLE_VENV)
	@$(KAGGLE_PIP) --requirement requirements.txt --constraint constraints/kaggle.txt
	@$(KAGGLE_VENV)/bin/python -m pip --disable-pip-version-check freeze > $(KAGGLE_VENV)/there.txt
	@awk -F == '$(KAGGLE_TOOLS)' $(KAGGLE_VENV)/there.txt constraints/tested.txt > $(KAGGLE_VENV)/tools.txt
	@grep -v ^mkdocs requirements-dev.txt > $(KAGGLE_VENV)/dev.txt  # conflicts with Kaggle's, tests no code
	@$(KAGGLE_PIP) --requirement $(KAGGLE_VENV)/dev.txt --constraint $(KAGGLE_VENV)/tools.txt
	@touch $@

test-kaggle: ## run the tests with the versions of Kaggle's image (needs a Python 3.12): ARGS=
	@if test -z "$(KAGGLE_PYTHON)" && ! test -x $(KAGGLE_VENV)/bin/python; then \
		echo "SKIPPED test-kaggle: no python3.12 found; name one: make test-kaggle KAGGLE_PYTHON=…" >&2; \
	else \
		$(MAKE) --silent --no-print-directory $(KAGGLE_VENV)/.ready KAGGLE_PYTHON="$(KAGGLE_PYTHON)" && \
		PYTHONPATH="$(CURDIR)" $(KAGGLE_VENV)/bin/python -m pytest $(TESTS) $(ARGS); \
	fi

# -- the steps, one by one ----------------------------------------------------------------
DATA_AND_OUT = $(call option,data,DATA) $(call option,out,OUT)

synth: $(READY) ## simulate a competition, or hours of one patient: OUT= EEGS= PATIENTS= TEST_EEGS= SEED= EVIDENCE= BALANCED=1 EEG_ONLY=1 UNCUT=1 EDF=1 HOURS=
	@$(HBAC) synth $(call option,out,OUT) $(call option,eegs,EEGS) $(call option,patients,PATIENTS) \
		$(call option,seed,SEED) $(call option,evidence,EVIDENCE) $(call flag,balanced,BALANCED) \
		$(call flag,eeg-only,EEG_ONLY) $(call flag,uncut,UNCUT) $(call option,test-eegs,TEST_EEGS) \
		$(call flag,edf,EDF) $(call option,hours,HOURS)

pack: $(READY) ## pack a competition folder into a store: DATA= RECIPE= STORE= LIMIT= MIN_VOTES= AVAILABLE=1 DASK=
	@$(HBAC) pack $(call option,data,DATA) $(call option,recipe,RECIPE) $(call option,out,STORE) \
		$(call option,limit,LIMIT) $(call option,min-votes,MIN_VOTES) $(call flag,available,AVAILABLE) \
		$(call option,dask,DASK)

eda: $(READY) ## explore a competition: DATA= OUT=
	@$(HBAC) eda $(DATA_AND_OUT)

train: $(READY) ## train a recipe, or continue: DATA= RECIPE= RUN= FOLDS= STORE= MAX_HOURS=
	@$(HBAC) train $(call option,data,DATA) $(call option,store,STORE) $(call option,recipe,RECIPE) \
		$(call option,run,RUN) $(call option,folds,FOLDS) $(call option,max-hours,MAX_HOURS)

infer: $(READY) ## predict a test folder with the RECIPE's run or others: DATA= RECIPE= RUN="a b" BLEND= OUT=
	@$(HBAC) infer $(DATA_AND_OUT) $(call option,recipe,RECIPE) $(call option,run,RUN) \
		$(call option,blend,BLEND)

read: $(READY) ## read EEG of hours into a page, events and an EDF+: EDF="a.edf b.edf" RUN="a b" BLEND= STEP= OUT= ANONYMIZE=1
	@$(HBAC) read $(call needed,EDF,a recording: EDF=night.edf) $(call option,run,RUN) \
		$(call option,blend,BLEND) $(call option,step,STEP) $(call option,out,OUT) \
		$(call flag,anonymize,ANONYMIZE)

score: $(READY) ## score a submission: SUBMISSION= SOLUTION= TRUTH=
	@$(HBAC) score "$${SUBMISSION:-outputs/inference/submission.csv}" \
		$(call needed,SOLUTION,the true votes: SOLUTION=…/solution.csv) $(call option,truth,TRUTH)

blend: $(READY) ## blend runs and other models' predictions: RUNS="a b c" DATA= OUT= METHOD= COMMON=1 MAPPING=
	@$(HBAC) blend $(call needed,RUNS,two or more: RUNS="outputs/runs/a outputs/runs/b") \
		$(DATA_AND_OUT) $(call option,method,METHOD) $(call flag,common,COMMON) \
		$(call option,mapping,MAPPING)

tta: $(READY) ## measure the gain from test-time augmentation: RUN= STORE=
	@$(HBAC) tta $(if $(RUN),"$$RUN") $(call option,store,STORE)

html: $(READY) ## export executed notebooks as pages: OUT= or RUN= (default: all in outputs/)
	@$(HBAC) html "$${OUT:-$${RUN:-outputs}}"

# -- many trainings: docs/sweeps.md -------------------------------------------------------
SWEEP_OPTIONS = $(call needed,SWEEP,a sweep: SWEEP=sweeps/batch-size.yaml) \
	$(call flag,reduced,REDUCED) $(call option,out,OUT) $(call option,storage,STORAGE)

sweep: $(READY) ## run a sweep, or continue: SWEEP= DATA= STORE= OUT= WORKERS= REDUCED=1 RETRY_FAILED=1 STORAGE= DASK= KAGGLE=1 POLL_INTERVAL=
	@$(HBAC) sweep $(SWEEP_OPTIONS) $(call flag,kaggle,KAGGLE) $(call option,data,DATA) \
		$(call option,store,STORE) $(call option,workers,WORKERS) $(call option,dask,DASK) \
		$(call option,poll-interval,POLL_INTERVAL) $(call flag,retry-failed,RETRY_FAILED)

sweep-report: $(READY) ## write a sweep's page again: SWEEP= OUT= REDUCED=1 STORAGE=
	@$(HBAC) sweep-report $(SWEEP_OPTIONS)

# -- Kaggle: docs/kaggle.md ---------------------------------------------------------------
NAME = "$${NB:-inference}"
ASK  = $(call option,timeout,TIMEOUT)
WAIT = $(call option,minutes,MINUTES) $(call option,poll-interval,POLL_INTERVAL) $(ASK)

data: $(READY) ## download the competition, 26 GB: OUT= TIMEOUT=
	@$(HBAC) data --out "$${OUT:-outputs/hms-harmful-brain-activity-classification}" $(ASK)

stage push: $(READY)
	@$(HBAC) $@ $(NAME) $(call option,set,SET) $(call option,blend,BLEND) $(call flag,force,FORCE) $(ASK)
stage: ## write build/NB as it would be pushed: NB=inference|training|eda SET="name=value …" BLEND= TIMEOUT=
push: ## push a notebook to Kaggle, where it runs: NB= SET="recipe=vipeegnet folds=0" BLEND= FORCE=1 TIMEOUT=

wheel-dataset: $(READY) ## make or update a Kaggle data set with the library's wheel: TIMEOUT=
	@$(HBAC) $@ $(ASK)

status logs output submit: $(READY)
	@$(HBAC) $@ $(NAME) $(WAIT) $(if $(filter output,$@),$(call option,out,OUT))
status: ## wait for the pushed version: NB= MINUTES= POLL_INTERVAL= TIMEOUT=
logs: ## wait, and show what it printed: NB= MINUTES= POLL_INTERVAL= TIMEOUT=
output: ## wait, and download its output: NB= OUT= MINUTES= POLL_INTERVAL= TIMEOUT=
submit: ## submit the pushed version and wait for its score: NB= MINUTES= POLL_INTERVAL= TIMEOUT=

# -- measuring ----------------------------------------------------------------------------
bench: $(READY) ## measure speed and growth against yardsticks, 20 minutes; growth at full size: GROWTH=1000,4000,17089 DATA=
	@$(BIN)/python benchmarks/bench.py $(call option,growth,GROWTH) $(call option,data,DATA)

bench-sweeps: $(READY) ## run the paper's sweeps at reduced size: DATA=
	@$(BIN)/python benchmarks/sweeps.py $(call option,data,DATA)

rehearsal: $(READY) ## go the whole road at the real size, hours and 55 GB, or continue: OUT= SIZE=small
	@$(BIN)/python benchmarks/rehearsal.py $(call option,out,OUT) $(call option,size,SIZE)

cost: $(READY) ## estimate operations, memory and T4 hours of all recipes, or measure steps: RECIPE= CHECK=1
	@$(BIN)/python benchmarks/cost.py $(if $(RECIPE),"$$RECIPE") $(call flag,check,CHECK)

# -- code, documentation, dependencies ----------------------------------------------------
lint: $(READY) ## check style, notebooks, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/nbstripout --verify notebooks/*.ipynb
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## format code, strip notebooks
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/nbstripout notebooks/*.ipynb

coverage: $(READY) ## run the tests and list the lines that none reaches: ARGS=
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(TESTS) $(ARGS)

docs: $(READY) ## build the documentation site in outputs/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: $(READY) ## build wheel and sdist into dist/
	@$(BIN)/hatchling build -d dist

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

lock: $(READY) ## pin all dependencies with hashes; existing pins stay: UPGRADE=1
	@$(LOCK) requirements.txt requirements-dev.txt --output-file constraints/tested.txt
	@printf 'hatchling\nsetuptools\nwheel\n' | \
		$(LOCK) - --constraints constraints/tested.txt --output-file constraints/build.txt

audit: $(READY) ## list known weaknesses of dependencies; never fails
	@$(BIN)/python constraints/audit.py constraints/tested.txt constraints/kaggle.txt

licences: $(READY) ## list the licence of every dependency in docs/licences.md
	@$(BIN)/python constraints/licences.py constraints/tested.txt docs/licences.md

clean: ## remove outputs, builds and caches (not the environment)
	@rm -rf outputs build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo "removed outputs, builds and caches; $(VENV) stays"
