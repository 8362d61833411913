"""The outer loop: what all users share is learnt so that adapting serves each of them."""
