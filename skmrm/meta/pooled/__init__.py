"""The pooled reward: what all users have in common, linear or bent."""
