"""Events, time and other people's streams: what everything that waits is driven by."""
