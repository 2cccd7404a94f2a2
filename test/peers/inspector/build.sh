#!/usr/bin/env bash
# build.sh OUT - puts the MCP inspector into OUT. Start its command line by `node OUT/node_modules/.bin/mcp-inspector --cli`.
set -euo pipefail
cd "$(dirname "$0")"
cp package.json package-lock.json "$1/"
# Without scripts: its postinstall is for a checkout of its own. It asks for a Node of its own version too; the tests start it with theirs.
npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error
