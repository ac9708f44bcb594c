"""Every page is in the site's navigation and in llms.txt, under the name that it bears."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LLMS = (ROOT / "llms.txt").read_text()
LISTED = {path: title for title, path in re.findall(r"^- \[(.+?)\]\((.+?)\): ", LLMS, re.MULTILINE)}
PAGES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
ELSEWHERE: dict[str, str] = dict(
    re.findall(r'^    "([^"]+\.md)": "([^"]+\.md)",$', (ROOT / "scripts" / "site_hooks.py").read_text(), re.MULTILINE)
)


def test_llms_txt_lists_every_page_once() -> None:
    assert set(LISTED) == PAGES | set(ELSEWHERE)
    assert LLMS.count("](") == len(LISTED)


def test_llms_txt_says_what_the_page_is_called() -> None:
    titles = {path: (ROOT / path).read_text().splitlines()[0].removeprefix("# ") for path in LISTED}
    assert titles == LISTED


def test_every_page_with_code_has_a_test_that_names_it() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    named = set(re.findall(r"[\"'/]([\w-]+)(?:\.md)?[\"']", tests))
    code = re.compile(r"^```(?:python|sql|yaml|js)$", re.MULTILINE)
    with_code = [page for page in PAGES if code.search((ROOT / page).read_text())]
    assert [page for page in with_code if Path(page).stem not in named] == []


def test_every_page_is_in_the_navigation_under_its_kind() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    shown = re.findall(r"- (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(shown) == sorted({page.removeprefix("docs/") for page in PAGES} | set(ELSEWHERE.values()))
    kinds = re.findall(r"^  - (\S+):$", navigation, re.MULTILINE)
    assert kinds == ["Tutorial", "How-to", "Reference", "Explanation"]
    for kind, pages in zip(kinds, re.split(r"^  - \S+:$", navigation, flags=re.MULTILINE)[1:], strict=True):
        assert {page.split("/")[0] for page in re.findall(r"- (\S+\.md)$", pages, re.MULTILINE)} == {kind.lower()}
