#!/usr/bin/env bash
# Every check and measurement that needs a GPU, in order of value, in under ten minutes: needs no Ray and no network.
# Without a GPU each part runs on the CPU with tiny sizes, and its figures mean nothing.
#   benchmarks/gpu.sh --out DIR [--quick] [--parts step,losses] [--data pool.npz]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
cd "$root"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
