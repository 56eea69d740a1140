#!/bin/sh
# Installs packages from PyPI into a virtual environment, which it makes first: scripts/venv.sh FOLDER ARGUMENT...
#
# `user` and `require-virtualenv` among the settings of pip are for other installs and do not count here.
set -eu

folder=$1
shift
[ -e "$folder/bin/python3" ] || python3 -m venv "$folder"
PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 exec "$folder/bin/python3" -m pip install --disable-pip-version-check "$@"
