"""Personal rewards over HTTP: one exported graph and a table of users' weights.

It imports neither torch nor scikit-learn; `pip install 'skmrm[serve]'` has what it needs.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={"app": ["create_app"], "limits": ["Limits"]})
