#!/usr/bin/env bash
# Compares rewards and cold starts of a model that reasons: each arm from one base, with the same number of steps.
#
#   bash scripts/reproduce_reasoning.sh                                       15 arms x 3 seeds
#   bash scripts/reproduce_reasoning.sh --arms rank error_rank --seeds 1      a part of it
#   bash scripts/reproduce_reasoning.sh --steps 20                            fewer steps of each run
#   bash scripts/reproduce_reasoning.sh --photos ratings.csv --image_folder photos --min_score 1 --max_score 5
#   bash scripts/reproduce_reasoning.sh --short                               1 seed, 20 steps
#   bash scripts/reproduce_reasoning.sh --quick                               two steps of each, to see it work
#
# Writes results.md, results.json and one file per run into checkpoints/reasoning_ablation (--output_dir), of photos into
# reasoning_ablation_photos. The same command again goes on where it was stopped; --help names the arms. Needs the extra
# [rl], and with --photos an index once (docs/starter.md). Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$(dirname "${BASH_SOURCE[0]}")/reasoning/needs.sh"

exec "$ROC_PYTHON" -m reasoning.ablation "$@"
