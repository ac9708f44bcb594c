"""python -m tests.faults.chaos --seconds 60 --seed 7"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

_PLAN = ("seed", "seconds", "workers", "lease", "pause", "alone")
_BEGIN, _END = "<!-- chaos: written by `make chaos` -->", "<!-- /chaos -->"


def main() -> int:
    options = _options()
    os.environ["CHAOS_SEED"] = str(options.seed)  # before the flows are made of it
    from tests.faults.chaos.driver import Plan, run

    print(f"chaos: seed {options.seed}", flush=True)
    outcome = run(Plan(**{name: getattr(options, name) for name in _PLAN}))
    for line in (*(f"SKIPPED: {s}" for s in outcome.skipped), *(f"WRONG: {fault}" for fault in outcome.faults)):
        print(line)
    table = _table(_command(options), outcome.figures, outcome.skipped)
    print(table)
    if options.report is not None and not outcome.faults:
        _write(options.report, table)
    return int(bool(outcome.faults))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="for how long, at least (default 180)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of flows, inputs and faults")
    parser.add_argument("--lease", type=int, default=15, help="the workers' lease, in seconds (default 15, as theirs)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default 4)")
    parser.add_argument("--pause", type=float, default=5, help="the longest time between faults (default 5)")
    parser.add_argument("--alone", type=int, default=2, help="kills, per round, with nothing else amiss (default 2)")
    parser.add_argument("--report", type=Path, help="a document whose table is replaced, if nothing was wrong")
    return parser.parse_args()


def _command(options: argparse.Namespace) -> str:
    """What does the same again, as far as chaos can be had again."""
    given = {name: getattr(options, name) for name in _PLAN}
    return f"make chaos CHAOS_ARGS='{' '.join(f'--{name} {value:g}' for name, value in given.items())}'"


def _table(command: str, figures: list[tuple[str, str]], skipped: list[str]) -> str:
    lines = [f"`{command}`", "", "| | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in figures)]
    return "\n".join([*lines, *(f"\nSkipped: {what}." for what in skipped)])


def _write(document: Path, table: str) -> None:
    before, _, rest = document.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}")


if __name__ == "__main__":
    sys.exit(main())
