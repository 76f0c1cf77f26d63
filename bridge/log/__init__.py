"""What is said, how often, and where to."""
