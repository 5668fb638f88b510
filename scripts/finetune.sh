#!/usr/bin/env bash
# Trains, evaluates and saves a model with the score head.
#
#   bash scripts/finetune.sh                                  the embedded demo: nothing to download, a few minutes on a CPU
#   bash scripts/finetune.sh configs/photos.yaml --seed 1     a configuration file; flags win over it
#   LOAD=org/model DATA_FILE=ratings.json IMAGE_ROOT=photos bash scripts/finetune.sh --min_score 1 --max_score 10
#   bash scripts/finetune.sh --launcher fsdp2 configs/finetune.yaml ...     all GPUs of this machine
#
# --launcher ddp | fsdp2 | zero2 | zero3: one process per GPU (without any: one, or --num_processes N), started by
#   `accelerate launch` with configs/distributed/<launcher>.yaml, which says what each is good for. On several machines,
#   give the same command on each, with --num_machines M --machine_rank R --main_process_ip A --main_process_port P, and
#   data and output_dir that all of them can reach. --max_restarts, --num_cpu_threads_per_process and what begins with
#   --rdzv_, --fsdp_ or --offload_ go to accelerate too. CUDA_VISIBLE_DEVICES chooses GPUs.
#
# The variables, the flags of the published training script and every setting of `--help` are accepted. The same command
# again resumes an unfinished run and prints the table of a finished one. Exit status: 0 done, 2 bad input; under a
# launcher 1 for any failure.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

LAUNCHERS="ddp fsdp2 zero2 zero3"
fail() { echo "finetune: $*" >&2; exit 2; }

arguments=()
[[ -n "${LOAD:-}" ]] && arguments+=(--model_name_or_path "$LOAD")
[[ -n "${DATA_FILE:-}" ]] && arguments+=(--data_path "$DATA_FILE")
[[ -n "${IMAGE_ROOT:-}" ]] && arguments+=(--image_folder "$IMAGE_ROOT")

# The words for accelerate are picked out; the others go to the training as they are.
launcher="" machines=1 processes="" port="" launch=()
while (($#)); do
    name="${1%%=*}"
    name="${name//-/_}"
    case "$name" in
        __launcher | __num_processes | __num_machines | __machine_rank | __main_process_ip | __main_process_port | \
            __max_restarts | __num_cpu_threads_per_process | __rdzv_* | __fsdp_* | __offload_*)
            if [[ "$1" == *=* ]]; then
                value="${1#*=}"
                shift
            elif (($# > 1)); then
                value="$2"
                shift 2
            else
                fail "${name/__/--} has no value"
            fi
            case "$name" in
                __launcher) launcher="$value" && continue ;;
                __num_processes) processes="$value" ;;
                __num_machines) machines="$value" ;;
                __main_process_port) port="$value" ;;
            esac
            launch+=("${name/__/--}" "$value")
            ;;
        *)
            arguments+=("$1")
            shift
            ;;
    esac
done

# Without a configuration file the demo is trained, unless a model or a data file is named.
config="$ROC_ROOT/configs/demo.yaml"
for word in ${arguments[@]+"${arguments[@]}"}; do
    case "${word//-/_}" in
        *.yaml | *.yml) config="" && break ;;
        __model_name_or_path* | __data_path*) config="$ROC_ROOT/configs/finetune.yaml" ;;
    esac
done
[[ -n "$config" ]] && arguments=("${config#"$PWD/"}" ${arguments[@]+"${arguments[@]}"})

if [[ -z "$launcher" ]]; then
    ((${#launch[@]} == 0)) || fail "${launch[0]} sets the number of processes and needs a --launcher," \
        "one of $LAUNCHERS"
    exec "$ROC_PYTHON" -m roc.cli finetune "${arguments[@]}"
fi

[[ " $LAUNCHERS " == *" $launcher "* ]] || fail "--launcher is '$launcher', expected one of $LAUNCHERS"
has_deepspeed() { "$ROC_PYTHON" -c 'import importlib.metadata as m; m.version("deepspeed")' 2>/dev/null; }
if [[ "$launcher" == zero* ]] && ! has_deepspeed; then
    fail "--launcher $launcher needs DeepSpeed: $ROC_PYTHON -m pip install --no-build-isolation" \
        "'roc-mllm[deepspeed]'. --launcher fsdp2 needs nothing more."
fi
for number in "$machines" ${processes:+"$processes"}; do
    [[ "$number" =~ ^[1-9][0-9]*$ ]] || fail "'$number' is no number of processes or machines; expected 1 or more"
done
if [[ -z "$processes" ]]; then
    processes="$("$ROC_PYTHON" -c 'import torch; print(max(torch.cuda.device_count(), 1))')"
    launch+=(--num_processes "$((processes * machines))")
fi
if ((machines > 1)); then
    for name in machine_rank main_process_ip main_process_port; do
        [[ " ${launch[*]} " == *" --$name "* ]] || fail "--num_machines is $machines, so --$name is needed as well"
    done
elif [[ -z "$port" ]]; then
    launch+=(--main_process_port 0)  # any free one: several jobs may run on a machine
fi
exec "$ROC_PYTHON" -m accelerate.commands.launch --config_file "$ROC_ROOT/configs/distributed/$launcher.yaml" \
    "${launch[@]}" -m roc.cli finetune "${arguments[@]}"
