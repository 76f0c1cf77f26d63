"""What `extauth-bridge setup` is made of: it does as root, from the installed package alone, what the units need."""
