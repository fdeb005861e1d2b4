#!/usr/bin/env bash
# Loses a machine in the middle of a run and shows that the run ends complete: scripts/engine.sh [--count N]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
exec "$root/.venv/bin/python" "$root/scripts/engine_demo.py" "$@"
