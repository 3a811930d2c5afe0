#!/usr/bin/env bash
# install.sh FOLDER PYTHON EXTRA: Molyneux with an extra (mini: what the demo needs; dev: everything), into a virtual
# environment, which PYTHON makes if it is not there. Without a GPU, torch's CPU build is taken where pip finds one.
set -euo pipefail
folder=$1 python=$2 extra=$3
cd "$(dirname "${BASH_SOURCE[0]}")/.."
own=$folder/bin/python

[ -x "$own" ] || "$python" -m venv "$folder"
if ! "$own" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "$folder has $("$own" --version): remove it and give PYTHON=PROGRAM with a Python of 3.11 or newer"
  exit 1
fi

# measured; torch's libraries for GPUs are 5.3 GB of it
if [ "$extra" = mini ]; then what="what the demo needs" size="6.1 GB"; else what="all extras and the test tools" size="6.7 GB"; fi
cpu=
if [ "$(uname -s)" != Linux ]; then
  size="less than 2.5 GB"
elif ! command -v nvidia-smi > /dev/null; then
  found=$("$own" -m pip index versions torchvision 2> /dev/null | grep -o '[0-9.]*+cpu' | head -n 1 || true)
  if [ "$found" ]; then
    cpu=torchvision==$found size="less than 2.5 GB"
    echo "No GPU was found: torch's CPU build is taken."
  else
    echo "No GPU was found, but the package index has no CPU build of torch and torchvision for this machine: the usual"
    echo "build is taken, which runs on the CPU too. PIP_EXTRA_INDEX_URL can name another index."
  fi
fi

echo "Installing Molyneux with $what into $folder ($("$own" --version)): $size, 2 to 15 minutes."
PYTHONUNBUFFERED=1 "$own" -m pip install --disable-pip-version-check --progress-bar off --no-compile -e ".[$extra]" ${cpu:+"$cpu"} \
  | sed -u -n -E 's/^Collecting ([^ ]+) \(from molyneux.*/  \1/p; s/^Installing collected.*/  unpacking/p'
echo "Installed: $(du -sh "$folder" | cut -f 1) in $folder."
