"""All scenes, in the order of the table."""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from support.availability import crowded, hanging, operated, starting
from support.availability.stage import Tempo
from support.availability.verdict import Result
from support.process import ROOT

SCENES = {scene.name: scene for scene in (*starting.SCENES, *hanging.SCENES, *crowded.SCENES, *operated.SCENES)}


def play(name: str, tempo: Tempo, checkout: Path = ROOT) -> Result:
    """One scene; one that breaks is a result as well."""
    try:
        return SCENES[name].play(tempo, checkout)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        scene = SCENES[name]
        return Result(name, scene.title, scene.wanted, broken=[f"{type(error).__name__}: {error}"])


def play_all(
    tempos: Mapping[str, Tempo], together: int, told: Callable[[Result], object], checkout: Path = ROOT
) -> dict[str, Result]:
    """Scenes by name, each in a process of its own: the quiet ones side by side, and then the others, fewer of them.

    Args:
      told: called with each result as it comes.
    """
    groups = [[name for name in tempos if SCENES[name].quiet is quiet] for quiet in (True, False)]
    results: dict[str, Result] = {}
    for group, workers in zip(groups, (together, max(together // 3, 1)), strict=True):
        with ProcessPoolExecutor(workers) as pool:
            futures = [pool.submit(play, name, tempos[name], checkout) for name in group]
            for future in as_completed(futures):
                result = future.result()
                results[result.name] = result
                told(result)
    return results
