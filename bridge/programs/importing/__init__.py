"""What other servers' users are read from, one module for each form."""
