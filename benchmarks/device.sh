#!/bin/bash
# Everything that needs a GPU, in five minutes at most: curves beside the processor's, fractions of the card's matrix
# product, seconds to accuracies. Writes one JSON.
#   bash benchmarks/device.sh [OUT.json]       DEVICE=cuda:1 names another one, DEVICE=cpu tries it on small shapes
set -e
cd "$(dirname "$0")/.."
exec timeout 300 "${PYTHON:-.venv/bin/python}" benchmarks/device.py --device "${DEVICE:-cuda}" --output "${1:-device.json}"
