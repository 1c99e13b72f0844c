#!/usr/bin/env bash
# The main job on the real `fastvideo` package: ports, findings, one safe fix, one parity test.
set -euo pipefail
cd "$(dirname "$0")/.."

ditproof=$PWD/.venv/bin/ditproof
python=$PWD/.project-venv/bin/python
workspace=$PWD/.demo/fastvideo
tests=tests/local_tests/transformers

step() { printf '\n\033[1m==> %s\033[0m\n' "$1"; }
# Findings (1) are what a check is for; anything above it is a failure of the demo.
findings_are_fine() { "$@" || [ $? -eq 1 ]; }

step "A porter's workspace: the unpacked package with a parity test of ours, in .demo/fastvideo"
rm -rf "$workspace"
mkdir -p "$workspace"
cp -R .real/fastvideo-0.2.1/. "$workspace"
mkdir -p "$workspace/$tests"
cp tests/fixtures/parity/*.py "$workspace/$tests/"
# Without a configuration of its own, pytest would take the one of the checkout around it.
printf '[pytest]\n' >"$workspace/pytest.ini"

step "ditproof ports"
"$ditproof" ports --root "$workspace"

step "ditproof check: the findings by rule"
findings_are_fine "$ditproof" check --root "$workspace" --quiet --statistics

step "ditproof check fastvideo/models/registry.py fastvideo/models/dits/hyworld: some of them in full"
findings_are_fine "$ditproof" check --root "$workspace" \
  "$workspace/fastvideo/models/registry.py" "$workspace/fastvideo/models/dits/hyworld"

step "ditproof check --fix --diff: a safe fix, as a diff"
findings_are_fine "$ditproof" check --root "$workspace" --select DIT101 --fix --diff \
  "$workspace/fastvideo/models/dits/hunyuangamecraft.py"

step "ditproof parity: the port against diffusers, tiny and on the CPU"
"$ditproof" parity --root "$workspace" --python "$python" "$tests/test_wan_tiny_parity.py"
