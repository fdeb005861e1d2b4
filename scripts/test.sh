#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [FLAGS of pytest]. All of them, without flags, two files at a time.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
if (($# == 0)); then set -- --numprocesses=2 --dist=loadfile; fi
exec .venv/bin/pytest "$@"
