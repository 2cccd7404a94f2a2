#!/usr/bin/env bash
# cache.sh - heavy builds live outside the tree, in one folder per content of their key files, so that a second clone pays nothing.
#
#   source scripts/cache.sh
#   dir=$(cached NAME "KEY FILES" BUILD-COMMAND ARGS...)   # the command gets the folder to fill as its last argument
#   dir=$(built NAME "KEY FILES")                          # the folder, if it is there already; fails when not
#
# The folder appears whole or not at all (rename), and two runs at once build it once (flock). What was not used for 30 days goes away
# with the next build of its name.
FMO_CACHE=${FMO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forgejo-mcp-operator}

# cache_folder NAME "KEY FILES" - the folder's path, whether it is there or not.
cache_folder() {
  local key
  # shellcheck disable=SC2086  # the key files are a list
  key=$(set -o pipefail && cat $2 | sha256sum | cut -c1-16) || return 1
  echo "$FMO_CACHE/$1-$key"
}

built() {
  local dir
  dir=$(cache_folder "$1" "$2") && [ -d "$dir" ] && echo "$dir"
}

cached() {
  local name=$1 dir log began heart
  dir=$(cache_folder "$1" "$2") || return 1
  shift 2
  if [ ! -d "$dir" ]; then
    mkdir -p "$FMO_CACHE"
    (
      flock 9
      [ -d "$dir" ] && exit 0
      log=$dir.log
      began=$(date +%s)
      echo "building $name (once; kept in the cache) ..." >&2
      find "$FMO_CACHE" -maxdepth 1 -regextype posix-egrep -regex ".*/$name-[0-9a-f]{16}(\.log|\.lock)?" -mtime +30 -exec rm -rf {} +
      rm -rf "$dir.partial"
      mkdir -p "$dir.partial"
      # A sign of life with the last line of the log: the longest build takes many minutes.
      while sleep 20 >/dev/null 2>&1; do
        echo "  $name: $(($(date +%s) - began)) s, $(wc -l <"$log") lines of log: $(tail -n 1 "$log" | cut -c1-100)" >&2
      done 9>&- >/dev/null &
      heart=$!
      if ! "$@" "$dir.partial" >"$log" 2>&1 9>&-; then
        kill "$heart"
        echo "building $name failed; the last lines of its log ($log):" >&2
        tail -n 30 "$log" >&2
        exit 1
      fi
      kill "$heart"
      mv "$dir.partial" "$dir"
      echo "built $name in $(($(date +%s) - began)) s" >&2
    ) 9>"$dir.lock" || return 1
  fi
  touch -c "$dir"
  echo "$dir"
}
