"""What several benchmarks share: command lines, files, the frame of a table a part, times."""
