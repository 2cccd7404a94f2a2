#!/usr/bin/env bash
# build.sh OUT - builds OUT/rust-client, a small client on the official Rust SDK.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --locked --target-dir "$work"
cp "$work/release/rust-client" "$1/"
