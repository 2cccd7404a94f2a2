#!/usr/bin/env bash
# build.sh OUT - builds OUT/forgejo-mcp-rs, a real Forgejo MCP server over stdio, with its C library linked in: it runs in an
# image that holds nothing else.
set -euo pipefail
cd "$(dirname "$0")"
target=$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# With --target named, the flags reach the program only and not the build scripts and procedural macros, which must stay dynamic.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" --target-dir "$work"
cp "$work/$target/release/forgejo-mcp-rs" "$1/"
