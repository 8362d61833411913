"""What personalisation has to beat, as estimators with the contract of :class:`skmrm.MetaRewardModel`.

- :class:`PooledBradleyTerry`: one reward for everybody.
- :class:`LowRankRewards`: every user a mixture of a few shared rewards (LoRe).
- :class:`PerUserBradleyTerry`: every user from scratch.

The paper's own setting is :meth:`skmrm.MetaRewardModel.paper`.
"""

from skmrm.baselines.low_rank import LowRankRewards
from skmrm.baselines.per_user import PerUserBradleyTerry
from skmrm.baselines.pooled import PooledBradleyTerry

__all__ = ["LowRankRewards", "PerUserBradleyTerry", "PooledBradleyTerry"]
