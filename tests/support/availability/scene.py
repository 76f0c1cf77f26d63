"""What a scene is, and how one is played."""

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from support.availability.clients import NotOffered, Watch
from support.availability.stage import Stage, Tempo
from support.availability.verdict import Result
from support.process import ROOT


@dataclass(frozen=True)
class Scene:
    """One row of the table.

    Attributes:
      title: what happens, `wanted`: what must hold; both for whoever reads the table.
      act: plays it on a stage, and judges it there.
      quiet: it needs little CPU, so that others may be played beside it.
    """

    name: str
    title: str
    wanted: str
    act: Callable[[Stage], Awaitable[None]]
    quiet: bool = True

    def play(self, tempo: Tempo, checkout: Path = ROOT) -> Result:
        """Play it with a daemon of its own, of which nothing is left afterwards."""
        result, watch = Result(self.name, self.title, self.wanted), Watch()
        with tempfile.TemporaryDirectory(prefix="extauth-scene-") as name:
            trio.run(self._play, Path(name), tempo, checkout, result, watch, instruments=[watch])
        return result

    async def _play(self, folder: Path, tempo: Tempo, checkout: Path, result: Result, watch: Watch) -> None:
        async with trio.open_nursery() as nursery:
            stage = Stage(folder, tempo, checkout, result, watch, nursery)
            try:
                await self.act(stage)
                await stage.close()
            except NotOffered as what:
                result.missing = str(what)
            finally:
                nursery.cancel_scope.cancel()
                stage.stop()
