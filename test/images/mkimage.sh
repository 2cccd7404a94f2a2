#!/usr/bin/env bash
# mkimage.sh ARGS - builds mkimage (once, see scripts/cache.sh) and runs it; `mkimage.sh -h` explains the arguments.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../scripts/cache.sh
source "$here/../../scripts/cache.sh"

build() { cd "$here/mkimage" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local go build -trimpath -ldflags '-s -w' -o "$1/mkimage" .; }
bin=$(cached mkimage "$here/mkimage/go.mod $here/mkimage/main.go $here/mkimage/image.go $here/mkimage/layer.go" build)
exec "$bin/mkimage" "$@"
