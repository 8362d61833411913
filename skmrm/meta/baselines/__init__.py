"""What personalisation has to beat: one reward for everybody, mixtures of a few, every user alone."""
