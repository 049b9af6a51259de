#!/usr/bin/env bash
# The measurements behind docs/theory/measured.md: under an hour on two cores. A run that stopped goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv/bin:$PATH"
out=out/theory results=docs/results/theory
rule=energy:law=one,steady=false # of a recipe without guidance, as these samplings are
mkdir -p docs/figures/theory

for solver in dpmpp_2m euler; do
  steindiff diagnose --model fashion-mnist --solver "$solver" --steps 5 \
    --coefficient "$rule" --out "$out/fashion-mnist-$solver"
  steindiff diagnose --model mixture:dim=64,modes=10 --solver "$solver" --steps 5 --samples 400 \
    --coefficient "$rule" --out "$out/mixture-$solver"
  # A plane with the same sampling, as another chapter of the same results.
  for model in fashion-mnist mixture; do python docs/figures/plane.py "$out/$model-$solver"; done
done
# What the trust region holds back of the energy.
for model in fashion-mnist mixture:dim=64,modes=10; do
  steindiff diagnose --model "$model" --solver euler --coefficient "$rule,trust=inf" \
    --only energy --out "$out/energy-${model%%:*}"
done
# Modes of known mixtures, from 2 to 100, in 2 to 3,072 dimensions.
for mixture in dim=2,modes=2 dim=16,modes=8 dim=64,modes=10 dim=512,modes=30 dim=3072,modes=100; do
  for solver in dpmpp_2m euler; do
    steindiff diagnose --model "mixture:$mixture,separation=8" --solver "$solver" --modes 200 \
      --coefficient "$rule" --only modes --out "$out/modes-$solver-$mixture"
  done
done
# The animation of docs/theory/measured.md: where the method shows in two dimensions.
python docs/figures/plane.py "$out/plane" --solver euler --steps 8 --schedule vp_time \
  --coefficient "$rule"

for run in "$out"/*/; do
  mkdir -p "$results/$(basename "$run")"
  cp "$run/results.json" "$results/$(basename "$run")"
done
cp "$out/fashion-mnist-dpmpp_2m/report.html" "$results/fashion-mnist-dpmpp_2m"
cp "$out"/fashion-mnist-dpmpp_2m/figures/*.png docs/figures/theory/
cp "$out/plane/figures/trajectories.gif" docs/figures/trajectories.gif
