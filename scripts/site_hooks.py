"""MkDocs hooks: pages that live beside what they describe, and links as they are in the repository.

A document links to files by their place in the repository. In the site a link to a page leads to that page, and one
to any other file becomes its path: the site has no copy of it, and knows no address of the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
#: Documents outside docs/ and the pages that they become.
ELSEWHERE = {
    "CHANGELOG.md": "reference/changelog.md",
    "CONTRIBUTING.md": "explanation/contributing.md",
    "SECURITY.md": "explanation/security.md",
    "benchmarks/README.md": "explanation/benchmark-harness.md",
    "src/pgflow/sql/README.md": "explanation/sql-core.md",
}
_SOURCES = {page: source for source, page in ELSEWHERE.items()}
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents outside docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrites the page's links, but for those in code."""
    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _rewritten(link, page.file.src_uri), part) for part in parts[::2]]
    return "".join(parts)


def _rewritten(link: re.Match[str], page: str) -> str:
    text, target, anchor = link.groups(default="")
    if target.startswith(("https://", "mailto:")):
        return link[0]
    source = _SOURCES.get(page, f"docs/{page}")
    path = Path(os.path.normpath(ROOT / Path(source).parent / target))
    if not path.exists():
        raise PluginError(f"{source} links to {target}, which does not exist")
    name = path.relative_to(ROOT).as_posix()
    found = ELSEWHERE.get(name) or (name.removeprefix("docs/") if name.startswith("docs/") else None)
    if found:
        return f"[{text}]({os.path.relpath(found, Path(page).parent)}{anchor})"
    return f"`{name}`" if text.strip("`") in (name, path.name) else f"{text} (`{name}`)"
