#!/usr/bin/env bash
# Calibrates the shipped model for the cells of calibrated.toml and measures them there.
set -euo pipefail
cd "$(dirname "$0")/.."
for schedule in karras log_snr vp_time; do
  for steps in 5 8; do
    file=research/calibrated/$schedule-$steps.json
    [ -f "$file" ] || steindiff calibrate --model fashion-mnist --schedule "$schedule" \
      --steps "$steps" --prior euler --out "$file"
  done
done
steindiff bench --grid research/calibrated.toml --out out/calibrated
mkdir -p docs/results/calibrated
cp out/calibrated/results.json docs/results/calibrated
