"""Features that are larger than the memory allowed."""
