"""Many users in one file: what saving, opening, looking up, scoring and forgetting cost."""
