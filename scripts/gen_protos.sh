#!/usr/bin/env bash
# Generates smssim/v1 from protos/, here or below another directory: scripts/gen_protos.sh [DIRECTORY]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
export PATH="$root/.venv/bin:$PATH" # where protoc finds its mypy plugins

mkdir -p "${1:-$root}/smssim/v1"
out=$(cd "${1:-$root}" && pwd)
rm -f "$out"/smssim/v1/*_pb2* # also the code of deleted .proto files
echo '"""The wire: made from protos/ by scripts/gen_protos.sh, never edited."""' >"$out/smssim/v1/__init__.py"

# The proto path mirrors the Python path, so no import needs patching.
cd "$root/protos"
protoc=(python -m grpc_tools.protoc --proto_path=.)
"${protoc[@]}" --python_out="$out" --mypy_out=quiet:"$out" smssim/v1/*.proto
# only_async: types for grpc.aio, the only gRPC in smssim.
grep --files-with-matches '^service ' smssim/v1/*.proto |
    xargs "${protoc[@]}" --grpc_python_out="$out" --mypy_grpc_out=quiet,only_async:"$out"
