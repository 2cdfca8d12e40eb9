#!/usr/bin/env bash
# The report in a real browser, headless Chromium: tests/browser/run.sh [OPTIONS OF PYTEST]
# Takes about a minute. As root on Debian or Ubuntu Chromium is installed where it is missing; where it cannot be,
# the tests are skipped by name. ADMMCTL_SCREENSHOTS=FOLDER keeps what the page looked like.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${ADMMCTL_PYTHON:-.venv/bin/python}
[ -x "$PYTHON" ] || make .venv/.ready-dev

if ! command -v chromium > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "browser: chromium is missing: installing it"
    { timeout 240 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 600 \
        apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
        > /dev/null 2>&1 || echo "browser: apt-get could not install it"
fi
# -rs: what is skipped, and why.
"$PYTHON" -m pytest -m browser tests/browser -rs "$@"
