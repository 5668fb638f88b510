#!/usr/bin/env bash
# Teaches a tiny model to think before it scores, on the demo's scenes and a CPU, and measures what it brings.
#
#   bash scripts/reason.sh              corpus, cold start, RAPO, evaluation
#   bash scripts/reason.sh --threads 1  on one core of a machine that does other work beside
#   bash scripts/reason.sh --quick      two steps of everything, to see it work
#
# Writes reason.md, reason.json and the checkpoints into checkpoints/reason (--output_dir). The same command again goes on
# where it was stopped. Needs the extra [rl]. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$(dirname "${BASH_SOURCE[0]}")/reasoning/needs.sh"

exec "$ROC_PYTHON" -m reasoning "$@"
