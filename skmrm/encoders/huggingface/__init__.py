"""Sentence encoders, reward models and causal language models of transformers."""
