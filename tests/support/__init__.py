"""Shared by several tests; see each module's first sentence."""
