"""How users differ from the pooled reward: directions, prior, and how far it lets them move."""
