"""Measurements that take longer than tests may: ``python -m benchmarks.<name>``, at the root of the repository."""
