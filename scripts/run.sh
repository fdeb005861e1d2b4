#!/usr/bin/env bash
# Runs a whole rehearsal on this machine: scripts/run.sh [FLAGS of `smssim run`]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
exec "$root/.venv/bin/smssim" run "$@"
