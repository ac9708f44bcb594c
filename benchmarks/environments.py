"""An environment of its own for every peer, made on demand under `.venvs/` from `peers/<name>.txt`.

Beside requirements that file may hold three kinds of comments that count:

    # python >= 3.12                   the oldest Python that it runs on, if that is newer than ours
    # npm @pgflow/core==0.8.1          a package of npm, unpacked to <environment>/npm
    # debian redis-server              a program of a Debian package of the same name, installed if we are root
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

_HERE = Path(__file__).parent
_INSTALL_SECONDS = 600


class NotAvailable(Exception):
    """An engine that cannot be measured here; says why."""


def python(engine: str) -> Path:
    """The interpreter that runs an engine; makes its environment if it is missing or out of date.

    Raises NotAvailable.
    """
    requirements = _HERE / "peers" / f"{engine}.txt"
    if not requirements.exists():
        return Path(sys.executable)
    text = requirements.read_text()
    folder = _HERE / ".venvs" / engine
    interpreter, stamp = folder / "bin" / "python", folder / "stamp"
    wanted = hashlib.sha256(text.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    print(f"making the environment of {engine} …", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    _run(_interpreter(_oldest_python(text)), "-m", "venv", "--without-pip", str(folder))
    _run(
        sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet",
        "--disable-pip-version-check", "--requirement", str(requirements),
    )  # fmt: skip
    for package in re.findall(r"^# npm (\S+)==(\S+)$", text, re.MULTILINE):
        _unpack_npm("@".join(package), folder / "npm")
    for program in re.findall(r"^# debian (\S+)$", text, re.MULTILINE):
        _install_debian(program)
    stamp.write_text(wanted)
    return interpreter


def _oldest_python(text: str) -> tuple[int, int]:
    found = re.search(r"^# python >= (\d+)\.(\d+)$", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (3, 11)


def _interpreter(oldest: tuple[int, int]) -> str:
    """A Python that is new enough: ours, or one that lies about."""
    if sys.version_info >= oldest:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(14, oldest[1] - 1, -1)]
    elsewhere = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"), reverse=True)
    for candidate in [*names, *map(str, elsewhere)]:
        if shutil.which(candidate) and _is_new_enough(candidate, oldest):
            return candidate
    raise NotAvailable(f"needs Python {oldest[0]}.{oldest[1]} or newer, and there is none")


def _is_new_enough(candidate: str, oldest: tuple[int, int]) -> bool:
    asked = [candidate, "-c", f"import sys; sys.exit(sys.version_info < {oldest})"]
    return subprocess.run(asked, capture_output=True, check=False, timeout=60).returncode == 0


def _unpack_npm(package: str, target: Path) -> None:
    if shutil.which("npm") is None:
        raise NotAvailable(f"{package} comes from npm, and there is no npm")
    target.mkdir()
    _run("npm", "pack", "--silent", "--pack-destination", str(target), package)
    for archive in target.glob("*.tgz"):
        with tarfile.open(archive) as opened:
            opened.extractall(target, filter="data")


def _install_debian(program: str) -> None:
    if shutil.which(program) is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotAvailable(f"there is no {program}: run 'apt-get install {program}' as root")
    _run("apt-get", "update", "-qq")
    _run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qq", "-y", "--no-install-recommends", program)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"{command[0]} took longer than {_INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        errors = [line for line in said if "ERROR" in line or "error" in line]
        raise NotAvailable((errors or said)[-1].strip())
