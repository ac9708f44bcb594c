"""The demo's flow: how complex are the functions of Python's standard library?

list_files → measure (a map over the files) → rank and histogram, side by side → report
"""

from __future__ import annotations

import ast
import os
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import TypedDict

from pgflow.cli.demo import report as page
from pgflow.flow import Flow

survey: Flow[Request, dict[str, Report]] = Flow("pgflow_demo_survey", max_attempts=3, base_delay=1, timeout=60)

#: Not the standard library, or made by installing it.
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__"}
_TOP = 20
#: The histogram's bins: the least complexity of each, doubling.
_BINS = (1, 2, 3, 5, 9, 17, 33, 65)
#: Held while a file is parsed: CPython 3.11's threads share a count of how deep they are, and fail over it (gh-106905).
_parser = threading.Lock()


class Request(TypedDict):
    """The run's input: which directory to survey, and where the HTML report goes."""

    root: str
    output: str


class Function(TypedDict):
    name: str
    path: str
    line: int
    complexity: int


class Measured(TypedDict):
    """One file; `error` says why it could not be parsed."""

    path: str
    lines: int
    classes: int
    complexities: list[int]
    worst: list[Function]
    error: str | None


class Histogram(TypedDict):
    """How many functions fall into each bin, and sums over all files."""

    bins: list[tuple[str, int]]
    files: int
    unparsed: list[str]
    lines: int
    classes: int
    functions: int


class Report(TypedDict):
    path: str
    top: list[Function]
    totals: Histogram


def standard_library() -> str:
    """Where the standard library of this Python lies."""
    return sysconfig.get_path("stdlib")


@survey.step
def list_files(flow_input: Request) -> list[str]:
    root = Path(flow_input["root"])
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _LEFT_OUT]
        paths += [str(Path(folder, name).relative_to(root)) for name in names if name.endswith(".py")]
    return sorted(paths)


@survey.map(over=list_files)
def measure(path: str, flow_input: Request) -> Measured:
    """Counts what is in one file. One that does not parse is data, too: the library's tests have some on purpose."""
    source = Path(flow_input["root"], path).read_bytes()
    measured = Measured(path=path, lines=source.count(b"\n"), classes=0, complexities=[], worst=[], error=None)
    try:
        with _parser:
            tree = ast.parse(source, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {**measured, "error": f"{type(error).__name__}: {error}"}
    functions = [
        Function(name=name, path=path, line=node.lineno, complexity=complexity(node)) for name, node in _functions(tree)
    ]
    measured["classes"] = sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree))
    measured["complexities"] = [f["complexity"] for f in functions]
    measured["worst"] = _worst(functions)
    return measured


@survey.step
def rank(measure: list[Measured]) -> list[Function]:
    return _worst([function for file in measure for function in file["worst"]])


@survey.step
def histogram(measure: list[Measured]) -> Histogram:
    counts = [0] * len(_BINS)
    for file in measure:
        for value in file["complexities"]:
            counts[sum(value >= least for least in _BINS) - 1] += 1
    return Histogram(
        bins=list(zip(_bin_labels(), counts, strict=True)),
        files=len(measure),
        unparsed=[file["path"] for file in measure if file["error"]],
        lines=sum(file["lines"] for file in measure),
        classes=sum(file["classes"] for file in measure),
        functions=sum(counts),
    )


@survey.step
def report(rank: list[Function], histogram: Histogram, flow_input: Request) -> Report:
    html = page.render(root=flow_input["root"], top=rank, totals=histogram)
    Path(flow_input["output"]).write_text(html, encoding="utf-8")
    return Report(path=flow_input["output"], top=rank, totals=histogram)


# ---------------------------------------------------------------------------------------- measuring


def complexity(function: ast.AST) -> int:
    """McCabe's cyclomatic number: 1 + the decisions in a function, without those of functions inside it.

        complexity(ast.parse("def f(x): return 1 if x else 2").body[0])      # 2

    Source: T. J. McCabe, "A Complexity Measure", IEEE Transactions on Software Engineering, 1976. Decisions are
    if, for, while, except, the conditional expression, each further operand of and/or, each `for` and `if` of a
    comprehension, and each case of a match but a bare `_`.
    """
    return 1 + sum(map(_decisions, _own_nodes(function)))


def _decisions(node: ast.AST) -> int:
    match node:
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler() | ast.IfExp():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case():
            return 0 if isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None else 1
    return 0


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a function, but not those of functions and classes inside it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def _functions(tree: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its dotted name within the module."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            name = prefix
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{node.name}".lstrip(".")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node
            waiting.append((name, node))


def _worst(functions: list[Function]) -> list[Function]:
    return sorted(functions, key=lambda f: (-f["complexity"], f["path"], f["line"]))[:_TOP]


def _bin_labels() -> list[str]:
    lasts = [following - 1 for following in _BINS[1:]]
    labels = [str(least) if least == last else f"{least}–{last}" for least, last in zip(_BINS, lasts, strict=False)]
    return [*labels, f"{_BINS[-1]}+"]
