#!/usr/bin/env bash
# The tests at both ends of the versions that setup.py allows, each in an environment made from nothing.
#
#   bash scripts/test_versions.sh                                        the oldest end, then the newest
#   bash scripts/test_versions.sh oldest tests/training/test_trainer.py -k ddp    one end; what follows goes to pytest
#
# oldest: Python 3.11 with constraints-oldest.txt, which holds the lower bounds of setup.py. newest: the newest Python of
# 3.11 to 3.13 here, with whatever the package index has today within the bounds. The environments, .venv-oldest and
# .venv-newest, take several GB each with CUDA builds of torch. Exit status: 0 only if the tests pass at every end asked.
#
#   TORCH_INDEX_URL                  index to take torch from, for example one of CPU builds
#   PYTHON_OLDEST, PYTHON_NEWEST     interpreters, instead of choosing

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

ends=(oldest newest)
case "${1:-}" in
    oldest | newest) ends=("$1") && shift ;;
esac

say() { echo "versions: $*" >&2; }

interpreter() {  # of candidates: the first that runs
    local candidate
    for candidate in "$@"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    say "found none of $*; name one with PYTHON_OLDEST or PYTHON_NEWEST"
    exit 2
}

install() {  # end, environment
    local python constraints=/dev/null torch=torch pip=("$2/bin/python" -m pip --disable-pip-version-check --quiet)
    if [[ "$1" == oldest ]]; then
        python="$(interpreter ${PYTHON_OLDEST:-python3.11})"
        constraints=constraints-oldest.txt
        torch="$(grep '^torch==' "$constraints")"
    else
        python="$(interpreter ${PYTHON_NEWEST:-python3.13 python3.12 python3.11})"
    fi
    say "making $2 with $("$python" -V)"
    "$python" -m venv --clear "$2"
    if [[ -n "${TORCH_INDEX_URL:-}" ]]; then
        # Its other dependencies still come from the configured index: a torch index need not hold them.
        "${pip[@]}" install --no-deps --index-url "$TORCH_INDEX_URL" "$torch"
    fi
    "${pip[@]}" install -c "$constraints" "$torch" setuptools wheel ninja
    "${pip[@]}" install -c "$constraints" -e ".[dev]"
    # Its build imports torch. It is for Linux; elsewhere its tests are skipped.
    "${pip[@]}" install -c "$constraints" --no-build-isolation -e ".[deepspeed]" || say "going on without DeepSpeed"
    "${pip[@]}" check
}

failed=()
for end in "${ends[@]}"; do
    environment="$ROOT/.venv-$end"
    install "$end" "$environment"
    "$environment/bin/python" -m pip list 2>/dev/null \
        | grep -E '^(torch|transformers|peft|accelerate|bitsandbytes|deepspeed|numpy|scipy|pillow|safetensors) ' || true
    # ROC_PYTHON: the tests that call the scripts must not bring the environment to constraints.txt.
    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 ROC_PYTHON="$environment/bin/python" \
        "$environment/bin/python" -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile "$@" || failed+=("$end")
done
if ((${#failed[@]})); then
    say "the tests fail at the end: ${failed[*]}"
    exit 1
fi
say "the tests pass at the end: ${ends[*]}"
