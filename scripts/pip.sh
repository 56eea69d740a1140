#!/bin/sh
# Installs packages from PyPI into a folder: scripts/pip.sh FOLDER ARGUMENT...
#
# Settings of the user for other installs (`user`, `require-virtualenv`, `prefix` and so on), in variables or in a
# configuration file, do not go with a folder and are left out. Where packages come from and how they are reached stays.
set -eu

folder=$1
shift
command -v python3 >/dev/null || { echo "error: python3 is needed to fetch packages" >&2; exit 1; }
python3 -m pip --version >/dev/null 2>&1 ||
    { echo "error: pip is needed to fetch packages (Debian: apt install python3-pip)" >&2; exit 1; }

# Lines such as global.index-url='https://...'; several values of a setting are divided by \n.
config=$(python3 -m pip config list 2>/dev/null || true)
for setting in index-url extra-index-url find-links no-index proxy cert client-cert trusted-host timeout retries; do
    value=$(printf '%s\n' "$config" | sed -n "s/^\(global\|install\|:env:\)\.$setting='\(.*\)'\$/\2/p" | tail -1 | sed 's/\\n/ /g')
    [ -z "$value" ] || export "PIP_$(echo "$setting" | tr a-z- A-Z_)=$value"
done
export PIP_CONFIG_FILE=/dev/null PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_NO_DEPS PIP_DRY_RUN PIP_NO_BINARY PIP_CONSTRAINT PIP_REQUIREMENT
exec python3 -m pip install --disable-pip-version-check --no-cache-dir --target "$folder" "$@"
