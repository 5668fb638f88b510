#!/usr/bin/env bash
# Teaches a tiny model to rank photos from edits of the demo's scenes, in the three stages of RED-Aes and on a CPU.
#
#   bash scripts/relative.sh              edits, three stages, evaluation
#   bash scripts/relative.sh --quick      two steps of everything, to see it work
#   bash scripts/relative.sh --without_anchors   also the third stage without the anchors beside its groups
#
# Writes relative.md, relative.json, the records and the checkpoints into checkpoints/relative (--output_dir). The same
# command again goes on where it was stopped. Needs the extra [rl]. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$(dirname "${BASH_SOURCE[0]}")/reasoning/needs.sh"

exec "$ROC_PYTHON" -m relative_stages "$@"
