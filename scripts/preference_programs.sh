#!/bin/sh
# Installs TRL into target/preference-programs, for the test of `make test-full` that compares losses with TRL's own
# functions. The version is one whose loss functions take log-probabilities. Uses the torch of scripts/export_programs.sh.
set -eu
cd "$(dirname "$0")/.."

venv=target/preference-programs
[ ! -e "$venv/ready" ] || exit 0
scripts/export_programs.sh
scripts/venv.sh "$venv" transformers==4.52.4 datasets psutil rich
scripts/venv.sh "$venv" --no-deps accelerate==1.7.0 trl==0.18.2
# Packages of this environment come first.
site=$("$venv/bin/python3" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
torch=$(target/export-programs/bin/python3 -c "import sysconfig; print(sysconfig.get_path('purelib'))")
echo "$torch" >"$site/torch.pth"
touch "$venv/ready"
