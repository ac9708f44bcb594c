"""Looks the pinned dependencies up in the list of known vulnerabilities; says so where that cannot be reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.version import Version
from pip_audit._service import PyPIService, ResolvedDependency, ServiceError

#: One pinned version that is known there: a mirror may have the packages, and not what is known of them.
KNOWN = ResolvedDependency("urllib3", Version("2.8.0"))
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def main() -> int:
    if reason := _why_out_of_reach():
        print(f"pip-audit: skipped, the list of known vulnerabilities cannot be reached ({reason})")
        return 0
    options = ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    return subprocess.run([sys.executable, "-m", "pip_audit", *options], check=False).returncode


def _why_out_of_reach() -> str | None:
    try:
        found, _ = PyPIService(timeout=5).query(KNOWN)
    except ServiceError as error:
        return str(error)
    return found.skip_reason if found.is_skipped() else None


if __name__ == "__main__":
    sys.exit(main())
