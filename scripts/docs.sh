#!/bin/sh
# Builds the site into site/: docs/, the docstrings of src/, and the pages of results/. Fails on a broken link, a name that
# does not exist, and a docstring that does not fit its function. (A missing docstring fails `make lint`.)
set -eu
cd "$(dirname "$0")/.."

rm -rf docs/results
cp -R results docs/results # ignored by git; pages have to lie below docs/

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
NO_COLOR=1 "${ZENSICAL:-.venv/bin/zensical}" build --clean --strict >"$log" 2>&1 || status=$?
grep -v '^  File \|^Traceback\|^    ' "$log" || true
if grep -q '^griffe: ' "$log"; then
  echo "docs: docstrings that do not fit their functions, see above" >&2
  exit 1
fi
exit "$status"
