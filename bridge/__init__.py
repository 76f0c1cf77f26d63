"""extauth-bridge: Prosody's authentication lines to a supervised pool of ejabberd programs."""

__version__ = "0.1.0"
