"""What each part of the default brings."""
