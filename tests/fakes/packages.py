"""Packages for setups to install without a network: a wheel for pip, a tarball for npm."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str, *, says: str) -> Path:
    """Make a wheel with a module whose `hello()` says something, and a command of its name that prints that."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"def hello():\n    return {says!r}\n\n\ndef main():\n    print(hello())\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


def tarball(folder: Path, name: str, version: str, *, says: str) -> Path:
    """Make a package for npm that exports `hello()`, and has a command of its name that prints what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "package.json": json.dumps({"name": name, "version": version, "main": "index.js", "bin": {name: "cli.js"}}),
        "index.js": f"exports.hello = () => {json.dumps(says)};\n",
        "cli.js": '#!/usr/bin/env node\nconsole.log(require("./index.js").hello());\n',
    }
    path = folder / f"{name}-{version}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size, entry.mode = len(content.encode()), 0o755
            archive.addfile(entry, io.BytesIO(content.encode()))
    return path
