#!/bin/sh
# Installs lm-evaluation-harness into target/suite-programs, for the test of `make test-full` that compares metrics of suites
# with its own. Takes 3 minutes and 700 MB.
set -eu
cd "$(dirname "$0")/.."

venv=target/suite-programs
[ ! -e "$venv/ready" ] || exit 0
scripts/venv.sh "$venv" lm_eval==0.4.13
touch "$venv/ready"
