"""A program's terminal: taking it over, and seeing whether its client waits for an answer."""
