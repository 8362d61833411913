"""What every room uses: files, words of messages, randomness, devices, tensors, threads."""
