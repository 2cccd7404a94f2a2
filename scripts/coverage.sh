#!/usr/bin/env bash
# coverage.sh - branch coverage of the pure core by its own tests; below 95 % it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
# Both by their files: a bare start of either would take the machine's own Node.
node=node_modules/.bin/node
exec $node node_modules/c8/bin/c8.js --all --include 'src/sessions/**' --include 'src/bridge/**' --exclude '**/{contract,ports}.ts' \
  --check-coverage --branches 95 --lines 95 --functions 95 --reporter text \
  $node node_modules/mocha/bin/mocha.js 'test/unit/{bridge,modern,sessions,stateless}*.test.ts' --reporter dot
