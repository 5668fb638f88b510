#!/usr/bin/env bash
# Everything that has to hold before a change is committed: lint, format, tests. Arguments go to pytest.
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/training/test_config.py -k yaml

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROC_ROOT"

# Tiny models are several times faster on one thread, and no test may ask a network for a model.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

"$ROC_PYTHON" -m ruff check .
"$ROC_PYTHON" -m ruff format --check .
# Tests of one file share their fixtures, so they stay together.
exec "$ROC_PYTHON" -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile "$@"
