"""The table of the paper, end to end."""
