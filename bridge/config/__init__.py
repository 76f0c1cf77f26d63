"""The configuration: its keys, where they are read from, and error messages for invalid values."""
