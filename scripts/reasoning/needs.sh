# What reason.sh, reproduce_reasoning.sh and relative.sh need beside the environment of setup.sh. They source this file.

if ! "$ROC_PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("trl") is None)'; then
    echo "$(basename "$0" .sh): reinforcement needs TRL, which is not installed:" \
        "$ROC_PYTHON -m pip install -c $ROC_ROOT/constraints.txt -e '$ROC_ROOT[rl]'" >&2
    exit 2
fi
export TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
export PYTHONPATH="$ROC_ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
