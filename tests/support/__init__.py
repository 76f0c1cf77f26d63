"""What several tests share; see each module's first sentence."""
