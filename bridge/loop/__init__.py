"""The event loop: descriptors, timers, and streams borrowed from other processes."""
