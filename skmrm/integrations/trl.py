"""Users' rewards in TRL: from its preference sets, to reward functions for its trainers and pairs for DPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from skmrm._support.wording import described
from skmrm.integrations._candidates import best_of_n, score_dataset
from skmrm.integrations._read_texts import read_items
from skmrm.integrations._row_rewards import OnUnknownUser, RowRewards
from skmrm.integrations._trl_dataset import from_trl_dataset

__all__ = ["UserReward", "best_of_n", "from_trl_dataset", "score_dataset"]

# What TRL passes beside the columns of the data.
_NO_COLUMNS = ("completion_ids", "environments", "log_extra", "log_metric", "trainer_state")


class UserReward:
    """Reward function for ``GRPOTrainer`` and ``RLOOTrainer``: each completion under the reward of its row's user.

    It can be pickled (but for one of an `OnnxScorer`), stands beside other reward functions, and takes prompts and
    completions as texts or as lists of messages. Each distinct (prompt, completion) of a step is encoded once, in one
    batch for all users.

    Rewards of different users have no common zero and no common scale. The zero does not matter to these trainers,
    which compare the completions of one prompt. The scale does, unless advantages are divided by their deviation within
    a prompt, as with ``GRPOConfig(scale_rewards="group")``, its default: else users with strong tastes count more.

    Parameters
    ----------
    model_or_users : UserModels, UserRewardModel, fitted MetaRewardModel or baseline, or skmrm.serving.OnnxScorer
        Adapted users, from ``model.adapt_many``: the column of users says whose reward a row is. One user, or an
        exported bundle of one: all rows are that user's. A model: all rows have the reward before adaptation. Where
        all rows are alike, the column of users need not be there. Fitted on texts.
    user_column : str, default="user_id"
        Column of the training data with users' ids, of the type they had when the users were adapted.
    on_unknown_user : {"prior", "none", "error"}, default="prior"
        What rows of users who were not adapted get, users who are missing (None) included. "prior" is the reward of
        the starting weights; "none" is None, which TRL takes for "does not apply"; "error" is an error.
    name : str, default="user_reward"
        What TRL logs it as: ``rewards/<name>/mean``, and ``<name>/unknown_users``, the share of rows whose user was
        not adapted.

    Raises
    ------
    TypeError
        If `model_or_users` is none of these.
    ValueError
        If it does not score texts, or cannot do what `on_unknown_user` asks for.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import load_style_preferences
    >>> from skmrm.integrations.trl import UserReward
    >>> episodes = load_style_preferences(n_users=30, n_pairs=10, random_state=0).episodes
    >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes[:25])
    >>> reward = UserReward(model.adapt_many(episodes[25:]), name="taste")
    >>> rewards = reward(prompts=["Tea?", "Tea?"], completions=["Yes.", "No."], user_id=episodes.users[[25, 26]])
    >>> len(rewards), type(rewards[0])
    (2, <class 'float'>)

    Then ``GRPOTrainer(model=policy, reward_funcs=[reward], train_dataset=dataset_with_user_id, args=config)``.
    """

    def __init__(
        self,
        model_or_users: Any,
        user_column: str = "user_id",
        on_unknown_user: OnUnknownUser = "prior",
        name: str = "user_reward",
    ) -> None:
        self.user_column = user_column
        self.__name__ = name
        self._rewards = RowRewards(model_or_users, on_unknown_user)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Reward of each completion.

        Parameters
        ----------
        prompts, completions : sequence of str, or of lists of messages
        **columns : sequence
            The other columns of the data, and what else TRL passes.

        Returns
        -------
        list of float or None, of length n
            In logits.

        Raises
        ------
        KeyError
            If users are unknown and may not be.
        ValueError
            If the column of users is not there, texts cannot be read, or a reward is not finite.
        """
        users = self._users(columns, len(completions))
        rewards = self._rewards(read_items(prompts, completions, ("prompts", "completions")), users)
        log_metric = columns.get("log_metric")
        if callable(log_metric) and users:
            known = self._rewards.is_known(users)
            log_metric(f"{self.__name__}/unknown_users", 1 - sum(known) / len(known))
        return rewards

    def _users(self, columns: Mapping[str, Any], n_rows: int) -> list[Any] | None:
        if not self._rewards.needs_users:
            return None
        if self.user_column not in columns:
            there = ["prompt", *(name for name in columns if name not in _NO_COLUMNS)]
            close = get_close_matches(self.user_column, there, 1)
            hint = f"; did you mean user_column={close[0]!r}?" if close else ""
            raise ValueError(
                f"the column {self.user_column!r} must say whose reward each row is; the columns are "
                f"{', '.join(map(repr, there))}: add it to the data, or name another by user_column{hint}"
            )
        column = columns[self.user_column]
        users = [] if isinstance(column, str | bytes | Mapping) else list(column)
        if len(users) != n_rows:
            came = f"{len(users)} for {n_rows}" if users else described(column)
            raise ValueError(f"column {self.user_column!r} must have one user a completion, got {came}")
        return users

    def __repr__(self) -> str:
        return (
            f"UserReward({self._rewards.source!r}, user_column={self.user_column!r}, "
            f"on_unknown_user={self._rewards.on_unknown_user!r}, name={self.__name__!r})"
        )
