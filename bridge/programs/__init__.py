"""ejabberd programs that come with the bridge."""
