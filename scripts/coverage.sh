#!/usr/bin/env bash
# coverage.sh - branch coverage of the pure core by its own tests; below 95 % it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
exec node_modules/.bin/c8 --all --include 'src/sessions/**' --include 'src/bridge/**' --exclude '**/{contract,ports}.ts' \
  --check-coverage --branches 95 --lines 95 --functions 95 --reporter text \
  node_modules/.bin/node node_modules/.bin/mocha 'test/unit/{bridge,sessions}*.test.ts' --reporter dot
