"""The example's project as a user has it: a copy of its own, run by its manage.py on a test's database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_shop"


class Project:
    """A copy of the example, whose settings are those of the module `tested`."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self.directory = directory
        self._dsn = dsn
        shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        self.configure()

    def configure(self, **settings: Any) -> None:
        """The example's settings but for these."""
        parts = conninfo_to_dict(self._dsn)
        database = {
            "NAME": parts["dbname"],
            "USER": parts.get("user", ""),
            "PASSWORD": parts.get("password", ""),
            "HOST": parts.get("host", ""),
            "PORT": str(parts.get("port", "")),
        }
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        text = ["from project.settings import *", f"DATABASES['default'] |= {database!r}", *lines]
        self.write("tested.py", "\n".join(text))

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """`python …` in the project's directory."""
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tested"},
        )  # fmt: skip

    def manage(self, *arguments: str) -> tuple[int, str, str]:
        """Runs `manage.py …` -> its exit status, and what it wrote."""
        process = self.spawn("manage.py", *arguments)
        try:
            out, err = process.communicate(timeout=200)
        finally:
            process.kill()
        return process.returncode, out, err
