#!/usr/bin/env bash
# prepare.sh - builds everything that up.sh would build, and boots nothing: for doing it beside something else.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$CLUSTER_DIR/deps.sh"
binaries
own_binaries
images
