#!/usr/bin/env bash
# Everything that has to hold before a change is committed: lint, format, import contracts, tests. Arguments go to pytest.
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/training/test_config.py -k yaml

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROC_ROOT"

# Tiny models run several times faster on one thread, and no test may download a model.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

"$ROC_PYTHON" -m ruff check .
"$ROC_PYTHON" -m ruff format --check .
# Tests of one file share fixtures, so one process runs all of them. The import contracts are tests too (tests/test_house.py).
exec "$ROC_PYTHON" -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile "$@"
