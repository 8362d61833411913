"""What encoding texts costs."""
