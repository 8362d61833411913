"""What personalisation has to beat, as estimators with the contract of :class:`skmrm.MetaRewardModel`.

- :class:`PooledBradleyTerry`: one reward for everybody.
- :class:`LowRankRewards`: every user a mixture of a few shared rewards (LoRe).
- :class:`PerUserBradleyTerry`: every user from scratch.

The paper's own setting is :meth:`skmrm.MetaRewardModel.paper`.
"""

from skmrm._baselines.low_rank import LowRankRewards
from skmrm._baselines.per_user import PerUserBradleyTerry
from skmrm._baselines.pooled import PooledBradleyTerry

__all__ = ["LowRankRewards", "PerUserBradleyTerry", "PooledBradleyTerry"]
