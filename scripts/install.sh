#!/bin/sh
# Puts the built programs, the libraries of libtorch that they need, manual pages and completions under a folder that
# can be moved: scripts/install.sh FOLDER [FOLDER OF THE BUILD].
#
# The programs look for the libraries in ../lib/statetune. With the CUDA packages of libtorch, which take 4.7 GB, that is
# a link to the libtorch of the build; STATETUNE_LINK=0 copies the CPU set instead, and STATETUNE_LINK=1 links it too.
set -eu

prefix=${1:?usage: scripts/install.sh FOLDER [FOLDER OF THE BUILD]}
case "$prefix" in /*) ;; *) prefix=$PWD/$prefix ;; esac
built=${2:-}
cd "$(dirname "$0")/.."
libtorch=$(cd "${LIBTORCH:-.libtorch/torch}" && pwd)
built=${built:-target/release}
[ -x "$built/statetune" ] && [ -x "$built/statetune-tensors" ] || { echo "error: run \`make build\` first" >&2; exit 1; }

has_cuda() { [ -e "$libtorch/../nvidia/cu13/lib/libcublas.so.13" ]; }
case "${STATETUNE_LINK:-}" in
    1) link=1 ;;
    0) link= ;;
    '') link=$(has_cuda && echo 1 || true) ;;
    *) echo "error: STATETUNE_LINK=$STATETUNE_LINK is not a valid choice: set it to 1 or 0, or unset it" >&2; exit 1 ;;
esac

case "$prefix" in */'~' | */'~/'*) echo "error: the shell has not replaced the \`~\` of $prefix: write PREFIX=\"\$HOME/...\"" >&2; exit 1 ;; esac
mkdir -p "$prefix/bin" "$prefix/lib" "$prefix/share/doc/statetune"
prefix=$(cd "$prefix" && pwd)
# Only what an installation made is replaced.
for file in "$prefix/bin/statetune" "$prefix/bin/statetune-tensors"; do
    [ ! -d "$file" ] || { echo "error: $file is a folder; move it elsewhere" >&2; exit 1; }
done
lib=$prefix/lib/statetune
if [ -e "$lib" ] && [ ! -L "$lib" ] && [ ! -e "$lib/libc10.so" ]; then
    rmdir "$lib" 2>/dev/null || { echo "error: $lib is not from an earlier installation; move it elsewhere" >&2; exit 1; }
fi
# What is half made goes with an installation that fails.
trap 'rm -rf "$prefix/bin/statetune.new" "$prefix/bin/statetune-tensors.new" "$lib.new"' EXIT
trap 'exit 1' HUP INT TERM
for program in statetune statetune-tensors; do
    install -m 755 "$built/$program" "$prefix/bin/$program.new"
    mv -f "$prefix/bin/$program.new" "$prefix/bin/$program"   # one that runs keeps its file
done
install -m 644 LICENSE README.md "$prefix/share/doc/statetune"

rm -rf "$lib.new"
if [ -n "$link" ]; then
    ln -s "$libtorch/lib" "$lib.new"
else
    mkdir "$lib.new"
    # Those that the loader finds under libtorch and its packages.
    packages=$(dirname "$libtorch")
    LD_LIBRARY_PATH="$libtorch/lib" ldd "$built/statetune-tensors" | awk '$3 ~ "^/" { print $3 }' | while read -r file; do
        case "$file" in
            "$packages"/*) install -m 644 "$(readlink -f "$file")" "$lib.new/$(basename "$file")" ;;
        esac
    done
    install -m 644 "$packages"/torch-*.dist-info/licenses/LICENSE "$lib.new/LICENSE.libtorch" 2>/dev/null || true
fi
rm -rf "$lib"
mv "$lib.new" "$lib"

program=$prefix/bin/statetune
"$program" man "$prefix/share/man/man1"
completions() { mkdir -p "$prefix/share/$2" && "$program" completions "$1" > "$prefix/share/$2/$3"; }
completions bash bash-completion/completions statetune
completions zsh zsh/site-functions _statetune
completions fish fish/vendor_completions.d statetune.fish

"$program" version >/dev/null
"$prefix/bin/statetune-tensors" version >/dev/null || { echo "error: the installed program does not find its libraries" >&2; exit 1; }
echo "installed $program${link:+; its libraries stay in $libtorch/lib}" >&2
