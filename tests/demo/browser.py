"""Puts a Chromium into .browser, with its shared libraries and without root: `make browser`."""

import io
import pathlib
import platform
import shutil
import subprocess
import tarfile
import tempfile

FOLDER = pathlib.Path(__file__).parents[2] / ".browser"
PROGRAM = FOLDER / "browser"
_PACKAGE = "@sparticuz/chromium@147.0.0"
_LONGEST = 180  # seconds
_START = """#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH=$here/lib FONTCONFIG_FILE=$here/fonts.conf exec "$here/chromium" "$@"
"""
_FONTS = '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>\n'


def main() -> None:
    """Fetch it, unless it is there."""
    if PROGRAM.exists():
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SystemExit("There is no Chromium for this machine here: install one")
    if shutil.which("npm") is None:
        raise SystemExit("No Chromium for the tests of the demo: npm fetches it, and is missing")
    with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".browser-") as name:
        folder = pathlib.Path(name)
        (folder / ".gitignore").write_text("*\n")
        command = ["npm", "pack", "--silent", _PACKAGE]
        try:
            subprocess.run(command, cwd=folder, check=True, timeout=_LONGEST, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise SystemExit(f"No Chromium for the tests of the demo: {error}") from None
        (archive,) = folder.glob("*.tgz")
        unpack(archive, folder / "made")
        shutil.move(folder / "made", FOLDER)
    print(f"Chromium is in {FOLDER}")


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Make the folder from an npm package: programs and archives, packed by Brotli."""
    import brotli  # comes with Gradio

    folder.mkdir()
    (folder / ".gitignore").write_text("*\n")
    with tarfile.open(archive) as package:
        for member in package:
            file = pathlib.PurePath(member.name)
            stream = package.extractfile(member) if file.suffix == ".br" else None
            if stream is None:
                continue
            content = brotli.decompress(stream.read())
            if file.stem.endswith(".tar"):
                with tarfile.open(fileobj=io.BytesIO(content)) as inner:
                    inner.extractall(folder, filter="data")
            else:
                (folder / file.stem).write_bytes(content)
                (folder / file.stem).chmod(0o755)
    (folder / "fonts.conf").write_text(_FONTS)
    (folder / "browser").write_text(_START)
    (folder / "browser").chmod(0o755)


if __name__ == "__main__":
    main()
