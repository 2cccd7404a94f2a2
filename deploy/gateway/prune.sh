#!/bin/sh
# prune.sh NODE_MODULES - takes out of production dependencies what a running gateway never opens: type declarations, source maps, sources,
# documents, tests and examples. Licences stay. Only files that no `require` can name by the packages' own rules are touched.
set -eu
cd "${1:?which node_modules?}"
find . -type f \( -name '*.map' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' -o -name '*.flow' -o -name '*.tsbuildinfo' \) -delete
find . -type f \( -iname '*.md' -o -iname '*.markdown' \) ! -iname 'licen[cs]e*' ! -iname 'notice*' -delete
find . -type f \( -name '.eslintrc*' -o -name '.prettierrc*' -o -name '.editorconfig' -o -name '.npmignore' -o -name '.nycrc' \) -delete
# Folders of these names only at the top of a package: deeper down they may be code.
find . -type d \( -name test -o -name tests -o -name docs -o -name example -o -name examples -o -name benchmark -o -name benchmarks -o -name .github \) \
  -prune -print | while IFS= read -r dir; do
  if [ -f "$dir/../package.json" ]; then rm -rf "$dir"; fi
done
rm -rf .bin @types zod/src
find . -depth -type d -empty -delete
