"""The site: built strictly and without a network, from pages whose links hold in the repository and in the site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: No address is reached through these: whatever asked for one would fail.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: warnings that nobody hears would not count as errors.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", site], cwd=root,
        env={**os.environ, **OFFLINE, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_its_first_page_shows_the_flow_of_the_readme() -> None:
    (ours,), (tested,) = (
        re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        for page in (ROOT / "docs" / "index.md", ROOT / "README.md")
    )
    assert ours.replace("\n\n\n", "\n\n") == tested


@pytest.mark.slow
def test_it_is_built_strictly(tmp_path: Path) -> None:
    done = _build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    docker = (tmp_path / "how-to" / "deploy-docker.html").read_text()
    assert "<code>examples/deploy/Dockerfile</code>" in docker
    assert 'href="sql-core.html"' in (tmp_path / "explanation" / "testing.html").read_text()
    fonts = "fonts.googleapis.com"
    assert not [page for page in tmp_path.rglob("*.html") if fonts in page.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[x](retries.md#nowhere)", "[x](nowhere.md)", "[x](../../src/nowhere.py)"])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, link: str) -> None:
    for folder in ("docs", "scripts", "src", "benchmarks", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for file in ("mkdocs.yml", *(path.name for path in ROOT.glob("*.md"))):
        shutil.copy(ROOT / file, tmp_path)
    with (tmp_path / "docs" / "how-to" / "schedules.md").open("a") as page:
        page.write(link)
    assert _build(tmp_path, tmp_path / "site").returncode != 0
