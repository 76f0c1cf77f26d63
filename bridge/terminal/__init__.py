"""A program's terminal: taking it over, and checking whether its client waits for an answer."""
