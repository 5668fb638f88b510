#!/usr/bin/env bash
# Trains, evaluates and saves a model with the score head.
#
#   bash scripts/finetune.sh                                  the embedded demo: nothing to download, a few minutes on a CPU
#   bash scripts/finetune.sh configs/photos.yaml --seed 1     a configuration file; flags win over it
#   LOAD=org/model DATA_FILE=ratings.json IMAGE_ROOT=photos bash scripts/finetune.sh --min_score 1 --max_score 10
#
# The variables, the flags of the published training script and every setting of `--help` are accepted. The same command
# again resumes an unfinished run and prints the table of a finished one. Exit status: 0 done, 2 bad input.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

arguments=()
[[ -n "${LOAD:-}" ]] && arguments+=(--model_name_or_path "$LOAD")
[[ -n "${DATA_FILE:-}" ]] && arguments+=(--data_path "$DATA_FILE")
[[ -n "${IMAGE_ROOT:-}" ]] && arguments+=(--image_folder "$IMAGE_ROOT")
arguments+=("$@")

# Without a file the demo is meant, unless a model or data of one's own is named.
config="$ROC_ROOT/configs/demo.yaml"
for word in ${arguments[@]+"${arguments[@]}"}; do
    case "${word//-/_}" in
        *.yaml | *.yml) config="" && break ;;
        __model_name_or_path* | __data_path*) config="$ROC_ROOT/configs/finetune.yaml" ;;
    esac
done
[[ -n "$config" ]] && arguments=("${config#"$PWD/"}" ${arguments[@]+"${arguments[@]}"})

exec "$ROC_PYTHON" -m roc.finetune "${arguments[@]}"
