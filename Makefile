# make reproduce | test | test-slow | docs | bench | setup | clean; every target sets up what it needs.

PYTHON ?= python3
BIN := .venv/bin

# make reproduce DATA=path/to/prepared.h5 runs the comparison on your own data; RUN names its folder under results/.
# make reproduce DATA=geo downloads the compendium from GEO first; MIRROR=URL takes it from a server that has
# GSEnnn/GSE994/matrix/... and the gene tables there.
# make reproduce DATA=dgex fetches D-GEX's own data, 12 GB, and sets the papers' tables beside ours; DATA=authors-example
# fetches and reruns the TAAF repository's example. There MIRROR=URL is a folder with all files, LIST names other files,
# and OPTIONS are further ones of the experiment, such as OPTIONS=--estimate.
SIMULATED := data/simulated.h5
GEO := data/geo.h5
GENES := data/genes/map_tg.txt
PREPARATION := $(wildcard data_prep/*.py dgex/*.py dgex/data/*.py dgex/files/*.py dgex/formats/*.py)
COHORTS := $(foreach cohort,GTEx 1000G,$(cohort) $(cohort)-as-published)
DATA ?= $(SIMULATED)
ifeq ($(DATA),geo)
override DATA := $(GEO)
endif
LIST := $(if $(filter dgex authors-example,$(DATA)),data_prep/$(subst -,_,$(DATA)).toml)
RUN ?= $(shell basename "$(DATA)" | sed 's/\.[^.]*$$//')

.PHONY: setup reproduce reproduce-compare reproduce-dgex reproduce-authors-example test test-slow docs bench clean
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: dgex needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plots]'
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The embedded default: simulated arrays, and RNA-seq to train on too, prepared like real ones.
$(SIMULATED): $(PREPARATION) | .venv/ready
	$(BIN)/python -m data_prep simulate --seed 0 -o data/simulated
	$(BIN)/python -m data_prep prepare data/simulated/simulated.gctx data/simulated/simulated_rnaseq.gctx \
	  --genes data/simulated --train-only rnaseq --split study --seed 0 -o $@

# The public compendium. Series matrices stay in data/geo, so that no other run downloads them again.
$(GENES): | .venv/ready
	$(BIN)/python -m data_prep genes -o $(@D) $(if $(MIRROR),--mirror "$(MIRROR)")

data/geo.gctx: data_prep/compendium.txt $(GENES) | .venv/ready
	$(BIN)/python -m data_prep geo $< -o $@ --genes $(dir $(GENES)) --cache data/geo $(if $(MIRROR),--mirror "$(MIRROR)")

$(GEO): data/geo.gctx $(PREPARATION) | .venv/ready
	$(BIN)/python -m data_prep prepare $< --genes $(dir $(GENES)) --split study --seed 0 -o $@

data/dgex/fetched data/authors-example/fetched: $(LIST) | .venv/ready
	$(BIN)/python -m data_prep fetch $< -o $(@D) $(if $(MIRROR),--mirror "$(MIRROR)")
	@touch $@

# D-GEX's data. Each cohort is mapped on twice: on the scale of the training profiles, and on its own, as published.
data/dgex/GEO.h5: data/dgex/fetched $(PREPARATION) | .venv/ready
	$(BIN)/python -m data_prep prepare $(@D)/bgedv2_QNORM.gctx --genes $(@D) --split sample --seed 0 -o $@

data/dgex/GTEx%h5: TABLE := GTEx_RNASeq_RPKM_n2921x55993.gctx
data/dgex/1000G%h5: TABLE := GD462.GeneQuantRPKM.50FN.samplename.resk10.txt
$(COHORTS:%=data/dgex/%.h5): data/dgex/GEO.h5
	$(BIN)/python -m data_prep prepare $(@D)/$(TABLE) --onto $< $(if $(findstring published,$@),--legacy) -o $@

reproduce: reproduce-$(or $(filter dgex authors-example,$(DATA)),compare)

reproduce-compare: .venv/ready $(filter $(SIMULATED) $(GEO),$(DATA))
	$(BIN)/python -m experiments.compare --data "$(DATA)" --protocol quick --seeds 3 --resume -o "results/$(RUN)" $(OPTIONS)

# A run that has begun goes on, without an estimate.
reproduce-dgex: $(COHORTS:%=data/dgex/%.h5)
	$(BIN)/python -m experiments.papers --data data/dgex/GEO.h5 $(COHORTS:%=--cohort data/dgex/%.h5) \
	  $(if $(wildcard results/$(RUN)/experiment.json),--resume) -o "results/$(RUN)" $(OPTIONS)

reproduce-authors-example: data/authors-example/fetched
	$(BIN)/python -m experiments.compare --authors-example $(<D) --resume -o "results/$(RUN)" $(OPTIONS)

test: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: .venv/ready-dev
	$(BIN)/pytest -m slow

# The documentation site; what is missing or does not resolve is an error.
docs: .venv/ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

# Training and preparation beside other software, which gets an environment of its own: JSON, figure and tables in docs/.
# The compendium of 704 arrays is prepared too where $DGEX_SHARED has it, beside simulated arrays.
PEERS := build/peers
DGEX_SHARED ?= ../shared
ARRAYS := $(wildcard $(DGEX_SHARED)/data/geo/geo_compendium_n704x16687.gctx)

$(PEERS)/ready: requirements.txt pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[plots]' \
	  --requirement benchmarks/requirements.txt
	@touch $@

bench: $(PEERS)/ready
	$(PEERS)/bin/python -m benchmarks.train_step -o docs/benchmarks/train_step.json
	$(PEERS)/bin/python -m benchmarks.prepare --folder build -o docs/benchmarks/prepare.json \
	  $(if $(ARRAYS),--arrays $(ARRAYS) --genes $(DGEX_SHARED)/data/genes)
	$(PEERS)/bin/python -m benchmarks.report docs/benchmarks

clean:
	rm -rf .venv .cache build *.egg-info data/simulated $(SIMULATED) $(dir $(GENES)) data/geo.gctx $(GEO) $(wildcard data/dgex/*.h5)
