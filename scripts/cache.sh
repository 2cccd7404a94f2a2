#!/usr/bin/env bash
# cache.sh - heavy builds live outside the tree, in one folder per lock file, so that a second clone pays nothing.
#
#   source scripts/cache.sh
#   dir=$(cached NAME "KEY FILES" BUILD-COMMAND ARGS...)   # the command gets the folder to fill as its last argument
#
# The folder appears whole or not at all (rename), and two runs at once build it once (flock).
FMO_CACHE=${FMO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forgejo-mcp-operator}

cached() {
  local name=$1 key dir log began
  # shellcheck disable=SC2086  # the key files are a list
  key=$(cat $2 | sha256sum | cut -c1-16)
  shift 2
  dir=$FMO_CACHE/$name-$key
  if [ ! -d "$dir" ]; then
    mkdir -p "$FMO_CACHE"
    (
      flock 9
      [ -d "$dir" ] && exit 0
      log=$FMO_CACHE/$name-$key.log
      began=$(date +%s)
      echo "building $name (once; kept in the cache) ..." >&2
      rm -rf "$dir.partial"
      mkdir -p "$dir.partial"
      if ! "$@" "$dir.partial" >"$log" 2>&1; then
        echo "building $name failed; the last lines of its log:" >&2
        tail -n 30 "$log" >&2
        exit 1
      fi
      mv "$dir.partial" "$dir"
      echo "built $name in $(($(date +%s) - began)) s" >&2
    ) 9>"$FMO_CACHE/$name-$key.lock" || return 1
  fi
  echo "$dir"
}
