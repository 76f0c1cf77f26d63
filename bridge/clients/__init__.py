"""Whoever asks: sessions, and the daemon's sockets with what comes in through them."""
