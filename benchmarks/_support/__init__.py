"""What several benchmarks share: command lines, files, data sets, the frame of a table a part, times."""
