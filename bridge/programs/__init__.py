"""The ejabberd programs bundled with the bridge."""
