"""What `pgflow worker --reload` watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from pgflow.config import SettingsError


def changed_files(references: Iterable[str]) -> AsyncIterator[object]:
    """An item whenever Python files change in the current directory, or beside a .py file among `references`.

    Raises SettingsError where watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, awatch
    except ModuleNotFoundError as error:
        raise SettingsError("--reload needs watchfiles: run `pip install 'py-pgflow[reload]'`") from error
    files = [Path(reference.partition(":")[0]) for reference in references]
    directories = {Path.cwd(), *(file.absolute().parent for file in files if file.suffix == ".py")}
    return awatch(*directories, watch_filter=PythonFilter())
