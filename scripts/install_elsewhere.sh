#!/bin/sh
# Proves that installed programs need neither this clone nor its build: the installation, the archive and the wheel each run the
# sample experiment in another folder, where the clone is gone; then the project moves to another folder and another user, and its
# run is used there.
#
# scripts/install_elsewhere.sh [install|archive|wheel]...   (all of them if none is named)
#
# Needs root, and the files of `make dist` and `make wheel`. Installation and archive run in a root file system that has the
# libraries of glibc and libstdc++6 and no other file; the wheel runs in a fresh virtual environment, for which pip fetches
# torch (3 GB), with the clone and its libtorch hidden.
set -eu
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "not proven: only root may change the root of a process" >&2; exit 0; }
clone=$(pwd -P)
packages=$(cd "${LIBTORCH:-.libtorch/torch}/.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# Enters a root and a folder as a user without a name, and becomes a program there.
enter='import os, sys
root, folder, user, program, *words = sys.argv[1:]
os.chroot(root)
os.chdir(folder)
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
os.execve(program, [program, *words], {"HOME": "/tmp", "PATH": "/bin"})'

# statetune, as a user in a folder of the root: in_root USER FOLDER WORD...
in_root() {
    unshare --mount --pid --fork sh -ec "$prepare"'; exec python3 -c "$@"' "$root" "$enter" "${root:-/}" "$2" "$1" "$program" \
        $(shift 2; echo "$@")
}

# The sample experiment in the folder $1 of the root, then its run under another name and for another user.
prove() {
    mkdir -p "$root$1/project"
    cp -r configs data models "$root$1/project"
    chown -R 65534:65534 "$root$1"
    in_root 65534 "$1/project" run configs/emoji-state.toml
    mkdir "$root$1/moved"
    mv "$root$1/project" "$root$1/moved/renamed"
    chown -R 65533:65533 "$root$1"
    for words in "runs ls" "generate latest --max-tokens 8" "eval latest" "verify latest --steps 3" "mount latest --for ai00" \
        "resume latest --set train.epoch_count=5"; do
        in_root 65533 "$1/moved/renamed" $words
    done
    echo "proven: $2" >&2
}

# A root with the C and C++ libraries, and the folder $1 as /opt/statetune.
make_root() {
    root=$work/root program=/opt/statetune/bin/statetune prepare='mount -t proc proc "$0/proc"'
    rm -rf "$root"
    mkdir -p "$root/proc" "$root/tmp" "$root/opt" "$root/lib64"
    chmod 1777 "$root/tmp"
    cp /lib64/ld-linux-x86-64.so.2 "$root/lib64"
    for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 libstdc++.so.6 libgcc_s.so.1; do
        file=$(ldconfig -p | awk -v name="$library" '$1 == name && /x86-64/ { print $NF; exit }')
        mkdir -p "$root$(dirname "$file")"
        cp "$(readlink -f "$file")" "$root$file"
    done
    mv "$1" "$root/opt/statetune"
}

for what in ${@:-install archive wheel}; do
    case $what in
        install)
            STATETUNE_LINK=0 scripts/install.sh "$work/opt"
            make_root "$work/opt"
            prove /home "make install"
            ;;
        archive)
            (cd target/dist && sha256sum --quiet -c statetune-*.tar.gz.sha256)
            mkdir "$work/archive"
            tar xf target/dist/statetune-*.tar.gz -C "$work/archive"
            make_root "$work"/archive/statetune-*
            prove /home "make dist"
            ;;
        wheel)
            scripts/venv.sh "$work/venv" target/dist/statetune-*.whl
            root='' program=$work/venv/bin/statetune
            prepare="cd /; mount -t tmpfs none '$packages'; mount -t tmpfs none '$clone'"
            prove "$work/home" "make wheel"
            ;;
        *) echo "error: \`$what\` is not a valid choice: install, archive, wheel" >&2; exit 2 ;;
    esac
done
