"""A decorated function cannot be pickled: to other processes a step is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pgflow.errors import ExecutorError
from pgflow.flow import Flow, Step


def name_of(step: Step[Any, Any]) -> str:
    """`module:flow#step`, by which another process finds the step, or `module:handlers#type:name`; raises ExecutorError
    if it could not."""
    home, name_there = step.found_as
    for module_name in (getattr(step.fn, "__module__", ""), *sys.modules):
        if module_name == "__mp_main__":
            continue
        found = getattr(sys.modules.get(module_name), "__dict__", {})
        for name, value in found.copy().items():
            if value is home:
                _check_main(step, module_name)
                return f"{module_name}:{name}#{name_there}"
    what = "flow" if isinstance(home, Flow) else "Handlers"
    raise ExecutorError(
        f"{step.title} runs in other processes, which cannot find the {what}: assign it to a global name of a module"
    )


def _check_main(step: Step[Any, Any], module_name: str) -> None:
    main = sys.modules[module_name]
    if module_name == "__main__" and main.__spec__ is None and not Path(getattr(main, "__file__", "")).is_file():
        raise ExecutorError(
            f"{step.title} runs in other processes, which cannot import what was typed at a prompt: put it into a "
            "module or a script"
        )
