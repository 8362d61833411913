"""Statistics of style, with names that people understand."""
