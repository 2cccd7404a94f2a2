#!/usr/bin/env bash
# build.sh OUT - builds a small client on the official Java SDK: OUT/JavaClient.class beside the jars in OUT/lib. Start it by
# `java -cp "OUT:OUT/lib/*" JavaClient`.
set -euo pipefail
cd "$(dirname "$0")"
missing=()
command -v javac >/dev/null || missing+=(default-jdk-headless)
command -v mvn >/dev/null || missing+=(maven)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]} ..."
  packages() {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  }
  # Another part of the tests may be installing at the same time, and has the lock then.
  packages || { sleep 20 && packages; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn --quiet --batch-mode -Dmaven.repo.local="$work" dependency:copy-dependencies -DoutputDirectory="$1/lib"
# The versions of a pom are names; these are contents. One jar more or less fails as well.
(cd "$1/lib" && sha256sum --quiet --check) <jars.sha256
[ "$(cd "$1/lib" && echo *.jar)" = "$(awk '{print $2}' jars.sha256 | xargs)" ]
javac -cp "$1/lib/*" -d "$1" JavaClient.java
