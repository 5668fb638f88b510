#!/usr/bin/env bash
# Tests that two data sets on different scales are learnt together no worse than each alone, on the demo's scenes.
#
#   bash scripts/reproduce_mixing.sh                two halves of the raters: 5 ways x 5 seeds, 20 minutes of one core
#   bash scripts/reproduce_mixing.sh --ways A B linked --seeds 2      some of them
#   bash scripts/reproduce_mixing.sh --quick        one seed, few steps, to see it work
#
# Writes results.md, results.json and one file per run into checkpoints/mixing (--output_dir). The same command again goes
# on where it was stopped; --help names the other settings. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$ROC_ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
exec "$ROC_PYTHON" -m mixing "$@"
