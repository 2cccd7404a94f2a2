#!/usr/bin/env bash
# build.sh OUT - makes OUT a virtual environment with the official Python SDK. Start programs by OUT/bin/python: its scripts name the
# folder that it was made in, and the cache moves it.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv "$1"
"$1/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps -r requirements.txt
"$1/bin/python" -c 'import mcp'
