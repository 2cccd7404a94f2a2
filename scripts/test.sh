#!/usr/bin/env bash
# test.sh - everything, on a fresh machine: quick tests first, while what they do not need is still being built.
# Each part's output is its own; the table at the end says how long each took. Exit 1 if any part failed.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p .run/test
rm -f .run/test/*
began=$SECONDS
PART_DEADLINE=3600 # seconds
failed=()

# part NAME COMMAND... - runs one part in the foreground and notes its time and result. It writes to a file that is shown as it grows: with a
# pipe, a process that the part left behind would keep the reader, and with it the whole run, waiting.
part() {
  local name=$1 from=$SECONDS log=.run/test/$1.log pid result
  shift
  printf '\n=== %s\n' "$name"
  timeout --kill-after 30 "$PART_DEADLINE" "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  tail -n +1 -s 0.2 -f --pid=$pid "$log"
  if wait $pid; then result=ok; else result=FAILED; fi
  echo "$name $((SECONDS - from)) $result" >>.run/test/parts
  [ $result = ok ] || failed+=("$name")
}

# lane NAME COMMAND... - the same in the background, its output kept for when it is joined.
lane() {
  local name=$1
  shift
  (
    from=$SECONDS
    if timeout --kill-after 30 "$PART_DEADLINE" "$@" >".run/test/$name.log" 2>&1 </dev/null; then result=ok; else result=FAILED; fi
    echo "$name $((SECONDS - from)) $result" >>.run/test/parts
    [ $result = ok ]
  ) &
  eval "lane_${name//-/_}=$!"
}

# join NAME - waits for a lane; what it printed is shown if it failed.
join() {
  local pid="lane_${1//-/_}"
  if ! wait "${!pid}"; then
    printf '\n=== %s failed\n' "$1"
    tail -n 60 ".run/test/$1.log"
    failed+=("$1")
    return 1
  fi
}

# count WORD - the sum of mocha's closing lines (`12 passing`), colours taken off.
count() { cat .run/test/*.log | sed 's/\x1b\[[0-9;]*m//g' | grep -aoE "^ *[0-9]+ $1" | awk '{n+=$1} END {print n+0}'; }

# broken_tests - what failed, a few lines each: whoever sees only the end of a long output sees what to look at.
broken_tests() {
  local log
  for log in .run/test/*.log; do
    sed 's/\x1b\[[0-9;]*m//g' "$log" | awk -v part="$(basename "$log" .log)" '
      /^ *[0-9]+ failing$/ { within = 1; next }
      within && /^ *[0-9]+\) / { lines = 0; printf "[%s] ", part }
      within && /^ +at / { lines = 99 }
      within && NF && lines < 7 { sub(/^ +/, ""); print substr($0, 1, 160); lines++ }'
  done
}

report() {
  printf '\n%-14s %8s  %s\n' part seconds result
  awk '{printf "%-14s %8s  %s\n", $1, $2, $3}' .run/test/parts
  local passed broken
  passed=$(count passing)
  broken=$(count failing)
  printf 'total %s s\n' $((SECONDS - began))
  [ ${#failed[@]} -eq 0 ] || printf 'failed parts: %s\n' "${failed[*]}"
  printf '%s passed, %s failed\n' "$passed" "$broken"
  [ "$broken" -eq 0 ] || broken_tests
}

cleanup() {
  test/cluster/down.sh >.run/test/cluster-down.log 2>&1
  jobs -p | xargs -r kill 2>/dev/null
}
trap cleanup EXIT

part setup make -s setup || exit 1
[ ${#failed[@]} -eq 0 ] || { report; exit 1; }
export PATH="$PWD/node_modules/.bin:$PATH"
export NO_COLOR=1 # (MOCHA_COLORS, whatever it is set to, turns them on)

# Two lanes of builds beside the quick tests: the cluster's programs, and everything else that tests talk to.
lane cluster-build test/cluster/prepare.sh
lane peers test/peers/build-all.sh

part lint make -s lint
part types make -s types
part unit make -s test-unit
part coverage make -s coverage
part go bash -c 'launcher/test.sh && cd test/images/mkimage && go test ./...'

# While the lanes build: a seed that is always the same, and one that nobody has seen.
part fuzz bash -c 'FUZZ_SECONDS=30 FUZZ_SEED=1 make -s fuzz && FUZZ_SECONDS=30 make -s fuzz'

if join peers; then
  part beads scripts/check-beads.sh
  part integration mocha 'test/{contract,integration}/**/*.test.ts'
fi
if join cluster-build; then
  part netpol bash -c 'cd test/cluster && go test ./netpol/...'
  part chart mocha 'test/chart/**/*.test.ts'
  part images test/images/build.sh all
  part cluster test/cluster/up.sh
  if [ ${#failed[@]} -eq 0 ] || [ -z "${CI:-}" ]; then
    part e2e make -s test-e2e
  fi
fi

report
[ ${#failed[@]} -eq 0 ]
