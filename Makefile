# Two commands for a fresh machine with Python 3.11: `make demo` and `make test`.
# `make test` leaves out the tests marked slow, `make test-all` none.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Processes of the tests, of one thread each.
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal
# Whatever pip's own settings say, what is tested is what constraints.txt pins.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo lint test test-all docs site figures paper ablation research overhead diffusers install clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): some minutes, 2 GB, more where PyTorch brings CUDA ..."
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[dev]"
	$(PIP) install -c constraints.txt --no-deps torch-fidelity  # it asks for torchvision, unused here
	$(PIP) install -c constraints.txt --no-deps k-diffusion  # only its samplers are looked at
	@touch $@

install: $(VENV)/installed

demo: install
	$(BIN)/steindiff compare --schedule simple --out out/demo

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --threads $(WORKERS)
	$(BIN)/lint-imports

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

docs: install
	$(BIN)/python docs/build.py

site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

figures: install
	$(BIN)/python docs/figures/published_coefficient.py
	docs/figures/theory.sh

paper: install
	$(BIN)/steindiff bench --preset paper --out out/paper
	mkdir -p docs/results/paper
	cp out/paper/results.json out/paper/report.html out/paper/figures/overview.png docs/results/paper

ablation: install
	$(BIN)/steindiff bench --preset ablation --out out/ablation
	mkdir -p docs/results/ablation
	cp out/ablation/results.json docs/results/ablation

research: install
	$(BIN)/python research/response.py
	$(BIN)/python research/grid.py

overhead: install
	$(BIN)/python benchmarks/overhead.py --out docs/results/overhead.json --batch 64 --runs 15 \
		--solver euler --solver dpmpp_2m --solver ipndm --solver unipc --solver heun --solver deis \
		--model-seconds 0.05 --model-seconds 1 --compile --overwrite

diffusers: install
	$(BIN)/python benchmarks/diffusers_schedulers.py --out docs/results/diffusers.json --count 256
	$(BIN)/python benchmarks/diffusers_schedulers.py \
		--out docs/results/diffusers-guided.json --guidance 4 \
		--nfe 5 --nfe 8 --count 256 --only "DDIM, trailing" --only "PNDM, PLMS" \
		--only "Euler, Karras" --only "DPM++ 2M, Karras" --only "DPM++ 2M, trailing" \
		--only "DEIS-3, trailing" --only "UniPC-2, trailing" --only "flow Euler, shift 3"

clean:
	rm -rf $(VENV) out
