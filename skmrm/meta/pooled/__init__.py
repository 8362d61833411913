"""The pooled reward: what all users have in common, linear or bent."""

from skmrm.meta.pooled.newton import Curvature, cholesky_with_ridge, fit_pooled, item_pull, pooled_hessian, row_space

__all__ = ["Curvature", "cholesky_with_ridge", "fit_pooled", "item_pull", "pooled_hessian", "row_space"]
