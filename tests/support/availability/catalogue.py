"""All scenes, in the order of the table."""

from support.availability import crowded, hanging, operated, starting
from support.availability.stage import Tempo

SCENES = {scene.name: scene for scene in (*starting.SCENES, *hanging.SCENES, *crowded.SCENES, *operated.SCENES)}


def check(name: str, tempo: Tempo) -> None:
    """Play a scene in which everything has to hold."""
    result = SCENES[name].play(tempo)
    assert result.state == "holds", (
        f"{result.title}: {result.state} ({'; '.join(result.said)}; others: {result.others})"
    )
