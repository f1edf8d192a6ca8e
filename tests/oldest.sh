#!/usr/bin/env bash
# The tests with the oldest packages that pyproject.toml allows, in a clean virtual environment; with --newest, the newest.
#
#     bash tests/oldest.sh [--newest] [PYTHON] [PYTEST ARGUMENTS ...]
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=true
if [ "${1:-}" = --newest ]; then oldest=false; shift; fi
python=${1:-python3.11}
[ $# -eq 0 ] || shift

workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
"$python" -m venv "$workspace/venv"
"$workspace/venv/bin/python" - > "$workspace/constraints.txt" <<'PYTHON'
import re
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *extras["tools"], *extras["test"], *extras["cluster"]]:
    found = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", line)
    if found:
        name, version = found.groups()
        print(f"{name}=={version}.*" if version.count(".") < 2 else f"{name}=={version}")
PYTHON
if $oldest; then
    # Tools of development may be newer: only what the package itself imports is held to its oldest.
    grep -v -E '^(pytest|pytest-xdist|hypothesis|ruff|mypy)==' "$workspace/constraints.txt" > "$workspace/oldest.txt"
else
    : > "$workspace/oldest.txt"
fi
cat "$workspace/oldest.txt"
"$workspace/venv/bin/pip" install --quiet -c "$workspace/oldest.txt" '.[test]'
"$workspace/venv/bin/python" -m refnet --version
"$workspace/venv/bin/python" -P -m pytest -q "$@"
