#!/usr/bin/env bash
# Make sdist and wheel in dist/, check both, and try the wheel where nothing else of the repository is.
# Usage: scripts/package.sh PYTHON [SITE-PACKAGES]
# With a folder of site-packages, dependencies are taken from there; else pip installs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=build/package-tools
if [ ! -x $tools/bin/twine ]; then
  "$1" -m venv $tools
  $tools/bin/pip install --quiet build twine check-wheel-contents
fi

rm -rf dist
$tools/bin/python -m build --outdir dist . >/dev/null
$tools/bin/twine check --strict dist/*
$tools/bin/check-wheel-contents dist/*.whl
ls -l dist

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" -m venv "$work/env"
wheel=$(realpath dist/*.whl)
if [ $# -gt 1 ]; then
  for folder in "$work"/env/lib/python*/site-packages; do realpath "$2" >"$folder/dependencies.pth"; done
  "$work/env/bin/pip" install --quiet --no-deps "$wheel"
else
  "$work/env/bin/pip" install --quiet "$wheel[mini]"
fi
cp scripts/try_wheel.py "$work"
cd "$work"
env -u PYTHONPATH "$work/env/bin/python" -I try_wheel.py
