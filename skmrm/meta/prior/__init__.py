"""How users differ from the pooled reward: directions, prior, and how far it lets them move."""

from skmrm.meta.prior.em import Prior, fit_prior, log_shares

__all__ = ["Prior", "fit_prior", "log_shares"]
