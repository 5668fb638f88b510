#!/usr/bin/env bash
# The Python environment that the other scripts run in. They source this file and then use "$ROC_PYTHON".
#
# An active virtual or conda environment is used as it is; otherwise one is made in .venv beside this repository.
# torch comes first, as this machine needs it: with an NVIDIA GPU the index's own build, without one the CPU build. A
# torch that is there already is kept. Everything else follows constraints.txt. A stamp in the environment makes the
# second run a matter of milliseconds.
#
#   TORCH_INDEX_URL   index to take torch from, instead of choosing
#   PYTHON            interpreter to make .venv with (3.11 to 3.13)
#   ROC_PYTHON        interpreter of an environment that has everything: taken as it is, nothing is installed

set -euo pipefail

ROC_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

_roc_say() { echo "setup: $*" >&2; }
_roc_fail() { _roc_say "$*"; exit 2; }
_roc_supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
_roc_version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "not runnable"; }

_roc_find_environment() {  # sets ROC_PYTHON
    local active=""
    if [[ -n "${VIRTUAL_ENV:-}" ]]; then
        active="$VIRTUAL_ENV"
    elif [[ -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-base}" != base ]]; then
        active="$CONDA_PREFIX"
    fi
    if [[ -n "$active" && -x "$active/bin/python" ]]; then
        ROC_PYTHON="$active/bin/python"
        _roc_supported "$ROC_PYTHON" || _roc_fail "the active environment $active has Python" \
            "$(_roc_version "$ROC_PYTHON"); 3.11, 3.12 or 3.13 is needed. Deactivate it, or activate another."
        return
    fi
    ROC_PYTHON="$ROC_ROOT/.venv/bin/python"
    if _roc_supported "$ROC_PYTHON" && "$ROC_PYTHON" -m pip --version >/dev/null 2>&1; then
        return
    fi
    local candidates=(python3 python python3.13 python3.12 python3.11) candidate chosen=""
    [[ -n "${PYTHON:-}" ]] && candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        _roc_supported "$candidate" || continue
        chosen="$candidate"
        # Debian's own python3 may lack what a virtual environment needs; another one may have it.
        "$candidate" -c 'import ensurepip' >/dev/null 2>&1 && break
    done
    if [[ -z "$chosen" && -n "${PYTHON:-}" ]]; then
        _roc_fail "PYTHON is $PYTHON ($(_roc_version "$PYTHON")); Python 3.11, 3.12 or 3.13 is needed."
    elif [[ -z "$chosen" ]]; then
        _roc_fail "found no Python 3.11, 3.12 or 3.13 (python3 is $(_roc_version python3))." \
            "Install one, or name it: PYTHON=/path/to/python3.12"
    fi
    _roc_say "making .venv with Python $(_roc_version "$chosen")"
    "$chosen" -m venv --clear "$ROC_ROOT/.venv" || _roc_fail "$chosen cannot make a virtual environment." \
        "On Debian and Ubuntu install its package python3-venv; or activate an environment of your own first."
}

_roc_pip() { "$ROC_PYTHON" -m pip --disable-pip-version-check "$@"; }

_roc_installed_torch() { "$ROC_PYTHON" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null; }

_roc_has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; }

_roc_reachable() {
    "$ROC_PYTHON" - "$1" >/dev/null 2>&1 <<'PY'
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=5)
PY
}

_roc_install_torch() {
    local wanted cpu_index=https://download.pytorch.org/whl/cpu
    wanted="$(grep -E '^torch==' "$ROC_ROOT/constraints.txt")"
    local install=(install --quiet --quiet -c "$ROC_ROOT/constraints.txt")
    if [[ -n "${TORCH_INDEX_URL:-}" ]]; then
        _roc_say "installing $wanted from $TORCH_INDEX_URL"
        # Its other dependencies still come from the configured index: a torch index need not hold them.
        _roc_pip install --quiet --quiet --no-deps --index-url "$TORCH_INDEX_URL" "$wanted"
    elif [[ "$(uname -s)" != Linux ]] || _roc_has_gpu; then
        _roc_say "installing $wanted"
        _roc_pip "${install[@]}" "$wanted"
        if _roc_has_gpu && ! "$ROC_PYTHON" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
            _roc_say "this machine has an NVIDIA GPU, but its package index gave a CPU build of torch;" \
                "set TORCH_INDEX_URL to an index with CUDA builds and remove the installed one to use the GPU"
        fi
    elif _roc_say "no NVIDIA GPU here: installing the CPU build of $wanted" \
        && _roc_pip "${install[@]}" "$wanted+cpu" 2>/dev/null; then
        :
    elif _roc_reachable "$cpu_index/"; then
        _roc_pip "${install[@]}" --extra-index-url "$cpu_index" "$wanted+cpu"
    else
        _roc_say "no index within reach has the CPU build: installing the larger default build, which runs here too"
        _roc_pip "${install[@]}" "$wanted"
    fi
}

_roc_install() {
    local started=$SECONDS kept constraints
    kept="$(_roc_installed_torch || true)"
    if [[ -n "$kept" ]]; then
        _roc_say "keeping the installed torch $kept"
    else
        _roc_install_torch
        kept="$(_roc_installed_torch)"
    fi
    _roc_say "installing roc and what it needs"
    # The torch at hand stands in for the pinned one, or pip would replace it.
    constraints="$(mktemp)"
    { grep -vE '^torch==' "$ROC_ROOT/constraints.txt"; echo "torch==$kept"; } >"$constraints"
    _roc_pip install --quiet --quiet -c "$constraints" -e "$ROC_ROOT[dev]" || {
        rm -f "$constraints"
        _roc_fail "the installation failed; the lines above say why. Nothing is lost: the same command tries again."
    }
    rm -f "$constraints"
    _roc_say "done in $((SECONDS - started)) s"
}

_roc_setup() {
    local stamp key
    _roc_find_environment
    key="$ROC_ROOT $(cd "$ROC_ROOT" && cat setup.py pyproject.toml constraints.txt | "$ROC_PYTHON" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
    stamp="$("$ROC_PYTHON" -c 'import sys; print(sys.prefix)')/roc-setup-stamp"
    if [[ -f "$stamp" && "$(<"$stamp")" == "$key" ]]; then
        return
    fi
    _roc_install
    echo "$key" >"$stamp"
}

[[ -n "${ROC_PYTHON:-}" ]] || _roc_setup
