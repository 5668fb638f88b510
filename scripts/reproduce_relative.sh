#!/usr/bin/env bash
# Tests the claim of RED-Aes: learning from edits whose direction is known, against the same number of human ratings.
#
#   bash scripts/reproduce_relative.sh                                   scenes and their edits: 4 arms x 5 seeds
#   bash scripts/reproduce_relative.sh --quick                           a few steps of each, to see it work
#   bash scripts/reproduce_relative.sh --photos ratings.csv --image_folder photos --min_score 1 --max_score 5   and photos
#
# Writes results.md, results.json and one file per run into checkpoints/relative_claim (--output_dir). The same command
# again goes on where it was stopped; --help names the other settings. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# Each run has one thread: several runs side by side are faster than one on several threads.
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$ROC_ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
exec "$ROC_PYTHON" -m relative_claim "$@"
