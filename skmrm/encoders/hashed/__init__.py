"""Hashed n-grams of words and characters, reduced: the default, which needs no download."""
