"""The estimators of `skmrm.baselines`, one a file."""
