"""One module for each command an operator types."""
