"""The two protocols, and the rules for queries and their answers.  No I/O."""
