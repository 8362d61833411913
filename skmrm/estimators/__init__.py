"""What every estimator shares: the frame of fit, adapting, scoring, users' models, files."""
