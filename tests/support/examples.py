"""How many examples a search has."""

from typing import Any

from hypothesis import settings


def examples(count: int, **more: Any) -> settings:
    """Settings for so many where others have a hundred, and for fewer where a profile gives those fewer."""
    return settings(max_examples=count * settings.default.max_examples // 100, **more)
