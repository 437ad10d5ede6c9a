#!/bin/bash
# Lists the tests that a log says were skipped, and fails if one of them is not in .ci/permitted-skips.
#
# usage: skips.sh LOG
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
# The test harness may have begun a line of its own before a skip's.
mapfile -t skips < <(grep -ao 'SKIP: .*' "$1" | tr -d '\r' | sort -u)
for skip in "${skips[@]}"; do
    echo "$skip"
    name=${skip#SKIP: }
    permitted=no
    while read -r pattern; do
        case $pattern in '' | \#*) continue ;; esac
        # shellcheck disable=SC2254
        case $name in $pattern) permitted=yes ;; esac
    done < .ci/permitted-skips
    if [ "$permitted" = no ]; then
        echo "NOT PERMITTED: $skip"
        failed=1
    fi
done
exit "$failed"
