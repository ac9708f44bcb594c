"""What a slug may be: the same rule as the database's `is_valid_slug`, and near misses for messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

#: As a JSON schema has it, too.
SLUG_PATTERN = "^[a-zA-Z_][a-zA-Z0-9_]*$"
_SLUG = re.compile(SLUG_PATTERN.strip("^$"))
LONGEST_SLUG = 128
#: pgmq's limit for queue names; a flow's queue bears its slug.
LONGEST_FLOW_SLUG = 47

#: Parameter names with a meaning of their own; no step can bear them.
RESERVED = ("flow_input", "ctx", "deps")


def slug_fault(slug: str, kind: str) -> str | None:
    """Why this is no slug of a flow or step; None if it is one.

    slug_fault("my-flow", "flow")   # "flow slug 'my-flow' is not valid: use letters, digits and _, …"
    """
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        return f"{kind} slug {slug!r} is not valid: use letters, digits and _, not starting with a digit"
    if slug == "run":
        return f"{kind} slug 'run' is not valid: the word is reserved"
    longest = LONGEST_FLOW_SLUG if kind == "flow" else LONGEST_SLUG
    if len(slug) > longest:
        return f"{kind} slug {slug!r} is too long: {len(slug)} characters, at most {longest} are allowed"
    if kind == "step" and slug in RESERVED:
        return f"step slug {slug!r} is not valid: parameters of this name have a meaning of their own"
    return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def no_option(holder: str, name: str, known: Collection[str]) -> str:
    """What is said of an option that there is not.

    no_option("a handler", "retri_on", OPTIONS_OF_HANDLERS)   # "a handler has no option 'retri_on'; did you mean …"
    """
    return f"{holder} has no option {name!r}{did_you_mean(name, known) or '; it has ' + ', '.join(known)}"
