#!/usr/bin/env bash
# Tests the paper's claim: one model is taught a score in seven ways, everything else the same.
#
#   bash scripts/reproduce_ablation.sh --jobs 2               the demo's scenes: 7 arms x 2 x 5 seeds, two runs at a time
#   bash scripts/reproduce_ablation.sh --quick                30 steps of each, to see it work
#   bash scripts/reproduce_ablation.sh --data_path ratings.csv --image_folder photos --min_score 1 --max_score 5
#   bash scripts/reproduce_ablation.sh --starter full --freeze vision --short --data_path ...
#                                                             a pretrained model: 4 arms x 3 seeds, x 2 with comments
#
# Writes results.md, results.json and one file per run into checkpoints/ablation (--output_dir). The same command again
# goes on where it was stopped; --help names the other settings. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# Each run has one thread: several runs side by side are faster than one on several threads.
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$ROC_ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
exec "$ROC_PYTHON" -m ablation "$@"
