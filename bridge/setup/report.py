"""What was done, a line for each step: for a person, or as JSON."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import Callable, Sequence

import attrs

from bridge.log.text import escaped


class Outcome(enum.StrEnum):
    """What became of a step, in the words that are shown."""

    DONE = "done"
    SAME = "already so"
    WOULD = "would do"
    LEFT = "left alone"
    REFUSED = "refused"
    NOTE = "note"


_COLOURS = {Outcome.DONE: 32, Outcome.WOULD: 36, Outcome.LEFT: 33, Outcome.NOTE: 33, Outcome.REFUSED: 31}
_WIDTH = max(map(len, Outcome))


@attrs.frozen
class Step:
    """One step and what became of it; `details` are further lines."""

    outcome: Outcome
    what: str
    details: Sequence[str] = ()


class Report:
    """Shows steps as they are done.

    Args:
      dry_run: nothing is to be changed.
      as_json: show nothing until `end`.
    """

    def __init__(self, *, dry_run: bool = False, as_json: bool = False) -> None:
        self.dry_run = dry_run
        self.steps: list[Step] = []
        self._json = as_json
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def add(self, outcome: Outcome, what: str, *details: str) -> None:
        """Show a step."""
        step = Step(outcome, escaped(what), [escaped(line) for line in details])
        self.steps.append(step)
        if not self._json:
            shown = f"{outcome:{_WIDTH}}"
            if self._colour and outcome in _COLOURS:
                shown = f"\x1b[{_COLOURS[outcome]}m{shown}\x1b[m"
            print(f"{shown}  {step.what}", *(f"{'':{_WIDTH}}  {line}" for line in step.details), sep="\n", flush=True)

    def step(self, what: str, needed: bool, act: Callable[[], object]) -> bool:
        """Do something if it is needed.

        Returns:
          whether it was, or in a dry run would have been.
        """
        if not needed:
            self.add(Outcome.SAME, what)
        elif self.dry_run:
            self.add(Outcome.WOULD, what)
        else:
            act()
            self.add(Outcome.DONE, what)
        return needed

    def end(self, following: str) -> int:
        """Show what is left to the administrator.

        Returns:
          the exit status: 0, 1 if a step was left alone, 2 if one was refused.
        """
        if self._json:
            steps = [{"outcome": str(one.outcome), "what": one.what, "details": [*one.details]} for one in self.steps]
            print(json.dumps({"steps": steps, "next": following}, indent=2))
        elif following:
            print(f"\n{following}")
        found = {step.outcome for step in self.steps}
        return 2 if Outcome.REFUSED in found else int(Outcome.LEFT in found)
