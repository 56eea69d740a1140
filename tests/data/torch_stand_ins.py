"""Lets Python import a CUDA build of torch on a machine without the NVIDIA libraries.

    python3 torch_stand_ins.py LIBTORCH_PARENT OUT_DIR

`import torch`, with LIBTORCH_PARENT in PYTHONPATH, loads every library that torch was linked with, though
CPU code calls none of them. For each one that is missing, this compiles an empty library with the symbols
that the loader looks for into OUT_DIR, with the binutils and a C compiler. Printed: the LD_LIBRARY_PATH
under which the import works, the present one where nothing is missing.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys


def lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def linked(library):
    """The files that the loader finds for `library`, and the names of those that it does not find."""
    places = dict(line.strip().split(" => ") for line in lines("ldd", library) if " => " in line)
    missing = {name for name, place in places.items() if place == "not found"}
    return [library, *(place.split(" (")[0] for name, place in places.items() if name not in missing)], missing


def origins(library):
    """From which library the versions of the symbols come that `library` takes from others."""
    origin = None
    for line in lines("readelf", "--wide", "--version-info", library):
        if match := re.search(r" File: (\S+)  Cnt: ", line):
            origin = match[1]
        elif match := re.search(r" Name: (\S+)  Flags: ", line):
            yield match[1], origin


def symbols_of(missing, found):
    """For each missing library what it has to define: version (or "") -> names."""
    defined, undefined, origin_of = set(), set(), {}
    for library in found:
        origin_of.update(pair for pair in origins(library) if pair[1] in missing)
        for *_, kind, symbol in map(str.split, lines("nm", "--dynamic", library)):
            name, _, version = symbol.partition("@")
            if kind == "U":
                undefined.add((name, version))
            else:
                defined.add(name)
    symbols = {library: collections.defaultdict(list) for library in missing}
    for name, version in sorted(undefined):
        if version in origin_of:
            symbols[origin_of[version]][version].append(name)
        elif not version and name not in defined and not name.startswith(("Py", "_Py")):
            symbols[min(missing)][""].append(name)  # the loader takes it from any library
    return symbols


def build(path, symbols):
    """Compiles a library that defines `symbols`, all of them data: a call fails at once."""
    source = "".join(f"char {name};\n" for names in symbols.values() for name in names)
    script = path.with_suffix(".map")
    script.write_text("".join(f"{v} {{ {'; '.join(names)}; }};\n" for v, names in symbols.items() if v))
    versions = [f"-Wl,--version-script={script}"] if script.stat().st_size else []
    command = ["cc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", *versions, "-o", path, "-xc", "-"]
    subprocess.run(command, input=source, text=True, check=True)


def main(parent, out):
    found, missing = linked(str(parent / "torch/lib/libtorch_python.so"))
    for library, symbols in symbols_of(missing, found).items():
        out.mkdir(parents=True, exist_ok=True)
        build(out / library, symbols)
    folders = [str(out.resolve()) if missing else None, os.environ.get("LD_LIBRARY_PATH")]
    print(":".join(filter(None, folders)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
