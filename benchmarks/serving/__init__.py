"""What serving costs without torch."""
