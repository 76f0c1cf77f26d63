"""Which codec a program has.  No I/O."""

from __future__ import annotations

from bridge.protocol import frames
from bridge.protocol.codec import Codec


def codec_of(protocol: str) -> Codec:
    """The codec for a setting of `protocol`."""
    if protocol == "generic":
        from bridge.protocol import generic  # late: most sites have no such program

        return generic
    return frames
