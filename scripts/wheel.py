#!/usr/bin/env python3
"""Packs an installation as a wheel: scripts/wheel.py INSTALLED FOLDER.

INSTALLED is what `scripts/install.sh INSTALLED` has made; the wheel gets its `bin/` and `share/`. libtorch comes with the
torch that pip installs beside, for which the programs look in `../lib/python3.N/site-packages`.
"""

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

INSTALLED, FOLDER = map(Path, sys.argv[1:3])
PROGRAMS = ["statetune", "statetune-tensors"]


def printed(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def platform():
    """The tag of the oldest glibc that both programs start with."""
    versions = [printed("readelf", "--version-info", INSTALLED / "bin" / name) for name in PROGRAMS]
    minor = max(map(int, re.findall(r"GLIBC_2[.](\d+)", "".join(versions))))
    return f"manylinux_2_{minor}_x86_64"


def metadata(version, torch):
    summary = re.search(r'^description = "(.*)"', Path("Cargo.toml").read_text(), re.M)[1]
    return f"""Metadata-Version: 2.4
Name: statetune
Version: {version}
Summary: {summary}
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.10
Requires-Dist: torch=={torch}
Description-Content-Type: text/markdown

{Path("README.md").read_text()}"""


def content(version, torch, tag):
    """Every file of the wheel but the list of files: name, bytes, and whether it is a program."""
    data = f"statetune-{version}.data"
    for name in PROGRAMS:
        yield f"{data}/scripts/{name}", (INSTALLED / "bin" / name).read_bytes(), True
    for path in sorted((INSTALLED / "share").rglob("*")):
        if path.is_file() and "doc" not in path.parts:
            yield f"{data}/data/{path.relative_to(INSTALLED)}", path.read_bytes(), False
    info = f"statetune-{version}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: statetune\nRoot-Is-Purelib: false\nTag: {tag}\n"
    yield f"{info}/METADATA", metadata(version, torch).encode(), False
    yield f"{info}/WHEEL", wheel.encode(), False
    yield f"{info}/licenses/LICENSE", Path("LICENSE").read_bytes(), False


def main():
    versions = re.search(r"^statetune (\S+).*libtorch (\S+)", printed(INSTALLED / "bin/statetune", "version"), re.S)
    version, torch = versions.groups()
    tag = f"py3-none-{platform()}"
    path = FOLDER / f"statetune-{version}-{tag}.whl"
    record = f"statetune-{version}.dist-info/RECORD"
    lines = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(name, text, is_program=False):
            entry = zipfile.ZipInfo(name)  # of 1980: equal programs make equal wheels
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            wheel.writestr(entry, text)

        for name, text, is_program in content(version, torch, tag):
            add(name, text, is_program)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(text)}\n")
        add(record, "".join(lines) + f"{record},,\n")
    print(path)


main()
