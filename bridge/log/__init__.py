"""Log lines: their text, their rate, their targets."""
