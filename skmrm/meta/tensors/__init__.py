"""Pairs and tables of features as tensors, and the few operations that read them."""
