#!/usr/bin/env bash
# Installs Debian's Chromium for the tests of pages, unless there is one. Needs root. Writes nothing to stdout. Exits with
# 1, after a line on stderr that says why, if there is no Chromium in the end.
set -euo pipefail

if command -v chromium chromium-browser >/dev/null; then exit; fi
if ! command -v apt-get >/dev/null || ((EUID != 0)); then
    echo "The tests in a browser are left out: Chromium is not installed (as root on Debian, this script installs it)" >&2
    exit 1
fi
echo "Installing Chromium for the tests in a browser (once, about a minute) ..." >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install=(apt-get install --yes --quiet --no-install-recommends chromium fonts-dejavu-core)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update --quiet && "${install[@]}"; } </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "The tests in a browser are left out: Chromium could not be installed, see above" >&2
    exit 1
fi
