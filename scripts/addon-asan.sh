#!/usr/bin/env bash
# Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer into a folder of its own and runs its tests with it. Ends with 1 when a
# test fails or a sanitizer reports anything. Needs root (the tests make namespaces and devices), gcc with libasan, and the compiled tests.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/build/Release"

# Where Node's headers are: beside the binary, or where npm says.
prefix=$(npm config get nodedir 2>/dev/null || true)
if [ ! -e "$prefix/include/node/node_api.h" ]; then
  prefix=$(node -p "require('path').resolve(process.execPath, '../..')")
fi
if [ ! -e "$prefix/include/node/node_api.h" ]; then
  echo 'Node headers not found: set nodedir (npm config set nodedir PREFIX).' >&2
  exit 1
fi

gcc -std=c11 -O1 -g -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -fno-omit-frame-pointer \
  -fsanitize=address,undefined -fno-sanitize-recover=undefined \
  -D_GNU_SOURCE -DNAPI_VERSION=8 -I"$prefix/include/node" src/tun/native/*.c -o "$folder/build/Release/mptunnel.node"

# node-gyp-build looks here instead of in the project. Leaks are not looked for: V8 frees nothing at its end.
export MPTUNNEL_PREBUILD="$folder"
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:exitcode=99:log_path=$folder/report"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$folder/report"
LIBASAN=$(gcc -print-file-name=libasan.so)
LIBUBSAN=$(gcc -print-file-name=libubsan.so)

failed=0
for test in dist/test/tun/native*.test.js; do
  echo "== $test"
  if ! LD_PRELOAD="$LIBASAN $LIBUBSAN" TAP_TIMEOUT=200 node "$test" >"$folder/output" 2>&1; then
    grep -E -A12 'not ok' "$folder/output" || tail -40 "$folder/output"
    failed=1
  fi
  grep '^# { total' "$folder/output" || failed=1
done
if compgen -G "$folder/report*" >/dev/null; then
  cat "$folder"/report*
  failed=1
fi
exit $failed
