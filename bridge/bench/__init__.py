"""`bench`: how many queries a program answers, by the number of programs, and what follows for `pool_size`."""
