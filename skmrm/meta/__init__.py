"""The mathematics of meta reward modelling: pure functions of tensors without scikit-learn, text or files."""
