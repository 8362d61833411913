"""Users' rewards where other libraries want them; each module needs its library only when it is used."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submodules=["huggingface", "ray", "trl"])
