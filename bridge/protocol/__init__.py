"""The two protocols and the rules of asking.  No I/O."""
