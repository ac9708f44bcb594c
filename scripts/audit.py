"""Looks the pinned dependencies up in PyPI's list of known vulnerabilities; says so where that cannot be reached."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

#: The answer for one pinned version, as pip-audit will ask for each; a mirror may have the packages and not this.
SERVICE = "https://pypi.org/pypi/urllib3/2.8.0/json"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def main() -> int:
    try:
        urllib.request.urlopen(SERVICE, timeout=5).close()
    except OSError as error:
        print(f"pip-audit: skipped, {SERVICE} cannot be reached ({getattr(error, 'reason', error)})")
        return 0
    options = ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    return subprocess.run([sys.executable, "-m", "pip_audit", *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
