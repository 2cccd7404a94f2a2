#!/usr/bin/env bash
# get.sh NAME - prints the folder of a built peer; builds it first where the cache has none for its present sources and lock files.
#
# A peer is a folder here with a build.sh, which fills the folder that it is given, and with the files that say what is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../scripts/cache.sh
source "$here/../../scripts/cache.sh"
name=${1:?which peer?}
[ -x "$here/$name/build.sh" ] || {
  echo "no such peer: $name; there are: $(cd "$here" && echo */build.sh | sed 's#/build\.sh##g')" >&2
  exit 2
}
cd "$here/$name"
keys=$(find . -type f \( -name build.sh -o -name go.mod -o -name go.sum -o -name '*.go' -o -name 'Cargo.*' -o -name '*.rs' -o -name requirements.txt \
  -o -name 'package*.json' -o -name pom.xml -o -name '*.java' -o -name jars.sha256 \) | sort)
cached "peer-$name" "$keys" nice ./build.sh
