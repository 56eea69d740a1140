#!/bin/sh
# Installs the programs that exports are for into target/export-programs, for the tests of `make test-full` that run
# exports in them: Transformers, PEFT, rwkv7-hf, gguf, and llama.cpp with its bindings, which is compiled. Takes
# 10 minutes and 6 GB.
set -eu
cd "$(dirname "$0")/.."

venv=target/export-programs
[ ! -e "$venv/ready" ] || exit 0
scripts/venv.sh "$venv" torch==2.11.0 numpy safetensors transformers peft rwkv7-hf==0.9.0 gguf==0.19.0
CMAKE_ARGS="-DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" scripts/venv.sh "$venv" llama-cpp-python==0.3.36
touch "$venv/ready"
