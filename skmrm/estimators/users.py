"""Many adapted users: a mapping over one table of weights, in memory or in a file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from skmrm._support.threads import one_thread
from skmrm._support.wording import described, name_some
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.arrays import id_array
from skmrm.episodes.fitted import check_episodes
from skmrm.episodes.history import History
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.estimators.scorer import thresholds_by_pair
from skmrm.estimators.user_model import WHY_GONE, UserRewardModel
from skmrm.estimators.user_rows import UserRows, UsersInMemory, UserTable, frozen
from skmrm.export.hub import HubPush
from skmrm.export.sources import Source, users_source
from skmrm.metrics import outcome_probabilities
from skmrm.metrics.margins import sigmoid
from skmrm.metrics.ratings import rated_margins, rated_outcomes
from skmrm.serving._hub import USERS, Contents, Place, fetch

if TYPE_CHECKING:
    from skmrm.estimators.user_file import UsersInFile
    from skmrm.export.card_facts import CardFacts

__all__ = ["UserModels"]


class _Model(Protocol):
    """What is asked of a fitted estimator."""

    @property
    def base_rewards_(self) -> BaseRewards: ...

    @property
    def start_weights_(self) -> NDArray[Any]: ...

    @property
    def _inner(self) -> InnerLoop: ...


class UserModels(HubPush, Mapping[Hashable, UserRewardModel]):
    """Adapted users as a mapping from user id to :class:`UserRewardModel`, over one table of weights.

    ``adapt_many`` of a model makes them in memory, and they never change: :meth:`update`, :meth:`drop` and ``|`` give
    new ones. :meth:`save` writes all into one file, and :meth:`load` opens it without reading it: a lookup reads one
    user. Of users that were loaded the file is the place that they are in: :meth:`update`, ``|=`` and :meth:`forget`
    change it, durably and all or nothing, whoever is killed when; everything else gives users in memory.

    ``users[id]`` is one user (a tuple is an id), ``users[[id, ...]]`` are some, ``users | others`` are both, where
    those on the right win. As in a dict, equal ids are one user: 1, 1.0 and True.
    """

    _hub_contents: ClassVar[Contents] = USERS
    _hub_options: ClassVar[frozenset[str]] = frozenset({"history", "ids"})

    def __init__(
        self,
        base: BaseRewards,
        users: NDArray[Any],
        weights: NDArray[Any],
        covariance: NDArray[Any] | None,
        n_pairs: NDArray[Any],
        start_weights: NDArray[Any] | None = None,
        inner: InnerLoop | None = None,
        history: History | None = None,
    ) -> None:
        own = None if covariance is None else frozen(covariance)
        rows = UserRows(users, frozen(weights), frozen(n_pairs), own, history)
        self._hold(UsersInMemory(rows), base, start_weights, inner)

    def _hold(
        self, table: UserTable, base: BaseRewards, start_weights: NDArray[Any] | None, inner: InnerLoop | None
    ) -> None:
        self._table, self._base, self._inner = table, base, inner
        self._start = None if start_weights is None else frozen(start_weights)

    def _with(self, table: UserTable) -> UserModels:
        """These users in place of ours, under the same model."""
        if table is self._table:
            return self
        made = type(self).__new__(type(self))
        made._hold(table, self._base, self._start, self._inner)
        return made

    @property
    def users_(self) -> NDArray[Any]:
        """Ids, (n_users,) object array. Of users in a file, this and what follows is read whenever it is asked for."""
        return self._table.all().users

    @property
    def weights_(self) -> NDArray[Any]:
        """Weights on the base reward functions, (n_users, n_bases)."""
        return self._table.all().weights

    @property
    def weights_cov_(self) -> NDArray[Any] | None:
        """Posterior covariances, (n_users, n_bases, n_bases); None where the model defines no posterior."""
        return self._table.all(whole=True).covariance

    @property
    def n_pairs_(self) -> NDArray[Any]:
        """Number of choices that each user was adapted on, (n_users,)."""
        return self._table.all().n_pairs

    @property
    def start_weights_(self) -> NDArray[Any] | None:
        """Weights (n_bases,) of a user without choices, under the model of these users; None if not given."""
        return self._start

    @overload
    def __getitem__(self, user: list[Any]) -> UserModels: ...

    @overload
    def __getitem__(self, user: Hashable) -> UserRewardModel: ...

    def __getitem__(self, user: Any) -> UserRewardModel | UserModels:
        if _are_several(user):
            return self._with(UsersInMemory(self._read(_ids(user), whole=True)))
        rows = self._read([user], whole=True)
        covariance = None if rows.covariance is None else rows.covariance[0]
        n_pairs, history = int(rows.n_pairs[0]), None if rows.lost[0] else rows.history
        return UserRewardModel(self._base, rows.weights[0], covariance, n_pairs, self._inner, history)

    def _read(self, users: Sequence[Hashable], whole: bool = False) -> UserRows:
        try:
            return self._table.read(users, whole)
        except KeyError as error:
            raise self._unknown(error.args[0]) from None

    def _unknown(self, unknown: Sequence[Hashable]) -> KeyError:
        file = self._file
        among = f"in {file.path}" if file else f"among {len(self)} adapted users ({name_some(self._table)})"
        what = f"user {unknown[0]!r}" if len(unknown) == 1 else f"users {name_some(unknown)}"
        alike = next((other for other in _spelt_alike(unknown[0]) if other in self._table), None)
        hint = "" if alike is None else f"; did you mean {alike!r}, {described(alike)}?"
        return KeyError(f"no {what} {among}: adapt {'it' if len(unknown) == 1 else 'them'} first{hint}")

    def update(
        self, episodes: Any, *, user_features: Any = None, half_life: float | timedelta | None = None
    ) -> UserModels:
        """Learn from more choices of these users, and of new ones: the same as adapting all on everything they said.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            New choices, of some of the users or of others.
        user_features : array of shape (n_users, n_user_features), data frame, or mapping of users to rows, optional
            Of these users, in place of what was given before.
        half_life : float > 0 or timedelta, optional
            As for :meth:`skmrm.MetaRewardModel.adapt_many`; of users without new choices nothing changes.

        Returns
        -------
        UserModels
            New users behind the others. Users in memory are unchanged; users in a file are these, and when this returns
            the file has what was learnt. Several processes may update one file: each waits for the others.

        Raises
        ------
        ValueError
            If earlier choices were not kept, or a user comes twice.
        EpisodeError
            If the pairs break a rule, or have no times where `half_life` needs them.
        """
        if self._inner is None or self._table.read([], whole=True).history is None:
            raise ValueError(f"update needs the users' earlier choices, and they {WHY_GONE}")
        checked = check_episodes(episodes, self._base, "update")
        named = checked.users.tolist()
        new = self._inner.history_of(self._base, checked, self._inner.shift(user_features, named, "update"))
        if len(set(named)) < len(named):
            raise ValueError("update takes each user once, got repeated users: join their pairs")
        with self._table.changing():
            known = [user for user in named if user in self._table]
            before = self._table.read(known, whole=True)
            if before.history is None or before.lost.any():
                raise ValueError(
                    f"update needs the users' earlier choices, and those of {name_some(before.users[before.lost])} "
                    f"{WHY_GONE}"
                )
            place = {user: row for row, user in enumerate(dict.fromkeys([*known, *named]))}
            history = before.history.joined(new, np.array([place[user] for user in named], np.intp), len(place))
            weights, covariance = self._inner.adapt(self._base, history.fading(half_life))
            changed = UserRows(id_array([*place]), weights, history.pairs_per_user, covariance, history)
            return self._with(self._table.put(changed))

    def __or__(self, other: Any) -> UserModels:
        if not isinstance(other, UserModels):
            return NotImplemented
        self._check_same_model(other)
        return self._with(UsersInMemory(self._table.all(whole=True)).put(other._table.all(whole=True)))

    def __ior__(self, other: Any) -> UserModels:
        if self._file is None or not isinstance(other, UserModels):
            return self | other
        self._check_same_model(other)
        with self._table.changing():
            for rows in other._table.blocks(whole=True):
                self._table.put(rows)
        return self

    def drop(self, ids: Any) -> UserModels:
        """All users but one, or some.

        Parameters
        ----------
        ids : hashable, or list of hashable
            Who is left out.

        Returns
        -------
        UserModels
            In memory; these are unchanged. :meth:`forget` deletes users from a file.

        Raises
        ------
        KeyError
            If there is no such user.
        """
        dropped = set(_ids(ids))
        self._read(list(dropped))
        rows = self._table.all(whole=True)
        kept = np.array([user not in dropped for user in rows.users], bool)
        return self._with(UsersInMemory(rows.take(np.flatnonzero(kept))))

    def forget(self, ids: Any) -> None:
        """Delete one user, or some, from the file: when this returns, nothing of them is left there.

        The file is written anew, whatever the number of users who are forgotten at once. What other files have, such
        as copies and other saved users, and what a file system keeps of blocks that no file has any more, is not
        reached.

        Parameters
        ----------
        ids : hashable, or list of hashable
            Who is forgotten.

        Raises
        ------
        KeyError
            If there is no such user; then none is deleted.
        ValueError
            If the users are in memory: ``users.drop(ids)`` gives others without them.
        StoreInUseError
            If somebody else uses the file for too long. The users are then deleted, but copies may be left that the
            next `forget` wipes.
        """
        if self._file is None:
            raise ValueError(
                "forget deletes users from a file, and these are in memory: drop(ids) gives others without"
            )
        try:
            self._file.forget(_ids(ids))
        except KeyError as error:
            raise self._unknown(error.args[0]) from None

    def save(self, path: str | PathLike[str]) -> None:
        """Write all users into one file (SQLite): weights, posteriors and what each said, as numbers; no pickle.

        A file that is there is replaced when the new one is whole. It says which model the users belong to, and holds
        their ids, unlike other files of this package. :meth:`compact` first drops what they said.

        Parameters
        ----------
        path : str or path
            A file.

        Raises
        ------
        ValueError
            If an id is of a kind that a file cannot give back (texts, numbers, booleans, bytes, dates, UUIDs and tuples
            of these are not), or nobody can tell what the model's encoder is made of.
        """
        from skmrm.estimators.user_file import write_users

        target = Path(path)
        if self._file is None:
            write_users(target, self._fingerprint(), self._table.blocks(whole=True))
        elif not (target.exists() and target.samefile(self._file.path)):
            self._file.copy_to(target)

    @classmethod
    def load(cls, path: str | PathLike[str], model: _Model) -> UserModels:
        """Open a file that :meth:`save` wrote; users are read when they are asked for.

        Parameters
        ----------
        path : str or path
            The file.
        model : fitted MetaRewardModel or baseline
            The one that adapted the users, or the same saved and loaded.

        Returns
        -------
        UserModels
            Users in the file: :meth:`update`, ``|=`` and :meth:`forget` change it. A pickle of them opens the file
            again where it is read.

        Raises
        ------
        ModelFileError
            If it is no such file, damaged, of a newer schema, or the users belong to another model.
        TypeError
            If `model` is none.
        """
        from skmrm.estimators.user_file import UsersInFile

        return cls._under(model, partial(UsersInFile, Path(path)), "load")

    @classmethod
    def _under(cls, model: _Model, table: Callable[[str], UserTable], caller: str) -> UserModels:
        """Users of a model, whose fingerprint opens their table."""
        from skmrm.estimators.fingerprint import fingerprint

        if isinstance(model, UserModels) or not hasattr(model, "base_rewards_") or not hasattr(model, "_inner"):
            raise TypeError(f"{caller} needs the fitted model that adapted the users, got {type(model).__name__}")
        base, inner = model.base_rewards_, model._inner
        made = cls.__new__(cls)
        made._hold(table(fingerprint(base, inner)), base, model.start_weights_, inner)
        return made

    @classmethod
    def from_pretrained(
        cls,
        repo_or_folder: str | PathLike[str],
        model: _Model,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> UserModels:
        """Read the users that :meth:`push_to_hub` pushed, into memory.

        Parameters
        ----------
        repo_or_folder : str or path
            A folder with a file ``users.sqlite``, if there is one of that name; or a repository on the Hub.
        model : fitted MetaRewardModel or baseline
            The one that adapted the users, or the same from the Hub.
        revision : str, optional
            Branch, tag or commit; None is the main branch as it is now.
        token : str or bool, optional
            Of private repositories; None takes that of the login.
        cache_dir : path, optional
            None is the Hub's own cache (``HF_HOME``).
        local_files_only : bool, default=False
            Take what the cache has, and ask nobody.

        Returns
        -------
        UserModels
            In memory; what was fetched stays as it is. :meth:`save` and :meth:`load` make a file of them that changes.
            Without ``include=["ids"]`` in the push their ids are 0, 1, 2 ...

        Raises
        ------
        ImportError
            If huggingface_hub is not installed (``pip install 'skmrm[hub]'``), and there is no such folder.
        OSError
            If the repository or the revision does not exist, may not be read, or cannot be reached.
        ModelFileError
            If it holds something else, is damaged, or the users belong to another model.
        TypeError
            If `model` is none.
        """
        from skmrm.estimators.user_file import read_users

        folder, commit = fetch(Place(fspath(repo_or_folder), revision, token), USERS, cache_dir, local_files_only)
        users = cls._under(model, lambda own: UsersInMemory(read_users(folder / USERS.mark, own)), "from_pretrained")
        users.hub_commit_ = commit
        return users

    def _write_files(self, folder: Path, include: frozenset[str]) -> None:
        from skmrm.estimators.user_file import write_users

        write_users(folder / USERS.mark, self._fingerprint(), _shared(self._table.blocks(whole=True), include))

    def _card_facts(self, include: frozenset[str], onnx: bool) -> CardFacts:
        from skmrm.export.card_facts import facts_of_users

        return facts_of_users(self._base, len(self), include, onnx)

    @property
    def _file(self) -> UsersInFile | None:
        return None if isinstance(self._table, UsersInMemory) else self._table  # type: ignore[return-value]

    def _fingerprint(self) -> str:
        from skmrm.estimators.fingerprint import fingerprint

        if self._inner is None:
            raise ValueError(
                "these users do not know the model that they were adapted with: adapt them with adapt_many"
            )
        return fingerprint(self._base, self._inner)

    def _check_same_model(self, other: UserModels) -> None:
        same = self._base is other._base or (self._inner is not None and self._fingerprint() == other._fingerprint())
        if not same:
            raise ValueError(
                "users can be joined if one model adapted them all, and these are of two, under which weights mean "
                "different things: adapt all users with one"
            )

    def compact(self) -> UserModels:
        """The same users without earlier choices, K numbers each: smaller, and no longer to be updated.

        Returns
        -------
        UserModels
            In memory.
        """
        rows = self._table.all(whole=True)
        return self._with(UsersInMemory(UserRows(rows.users, rows.weights, rows.n_pairs, rows.covariance)))

    def predict(self, X: Any) -> NDArray[Any]:
        """Reward of each response under each user's weights.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            Responses to judge.

        Returns
        -------
        ndarray of shape (n_users, n)
            In logits, users in the order of `users_`.
        """
        rewards = self._base.of_items(X, "predict", type(self).__name__)
        with one_thread():
            return np.concatenate([rows.weights @ rewards.T for rows in self._table.blocks()])

    def to_frame(self) -> Any:
        """The users as a table, for whatever reads tables.

        Returns
        -------
        pandas.DataFrame
            Columns ``user``, ``n_pairs``, and ``weight_0``, ``weight_1``, ...

        Raises
        ------
        ImportError
            If pandas is not installed (``pip install 'skmrm[report]'``).
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas, which is not installed: pip install 'skmrm[report]'") from error
        return pd.DataFrame(_columns(self._table.all()))

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the table of :meth:`to_frame` into a Parquet file, a part at a time.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        ValueError
            If the ids are not of one kind that Arrow has.
        """
        from skmrm.estimators.user_tables import write_parquet

        write_parquet(Path(path), map(_columns, self._table.blocks()))

    def decision_function(self, episodes: Any) -> NDArray[Any]:
        """Reward of the chosen minus reward of the rejected response, each pair under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted, all or some.

        Returns
        -------
        ndarray of shape (n_pairs,)
            In logits, in the order of the set's pairs; positive where the model agrees with the choice, or with the
            side of the bar that a rating is on.

        Raises
        ------
        KeyError
            If users were not adapted.
        """
        checked, rows = self._checked(episodes, "decision_function")
        if checked.n_pairs == 0:
            return np.empty(0, rows.weights.dtype)
        rewards, bar, rating = self._base.of_episodes(checked), self._base.bar, checked.rating
        other = rewards[checked.rejected]
        if rating is not None and bar is not None:
            other = np.where(rating[:, None] > 0, bar, other)
        margins = np.einsum("pk,pk->p", rewards[checked.chosen] - other, rows.weights[checked.user])
        cuts, unknown = (self._base.cuts_of(n_pairs) for n_pairs in (1, 0))
        if rating is None or cuts is None or unknown is None:
            return margins
        known = rated_margins(margins, rating, cuts)
        return np.where(rows.n_pairs[checked.user] > 0, known, rated_margins(margins, rating, unknown))

    def _checked(self, episodes: Any, caller: str) -> tuple[EpisodeSet, UserRows]:
        """The episodes, all of whose users were adapted, and the rows of their users."""
        checked = check_episodes(episodes, self._base, caller)
        try:
            return checked, self._table.read(checked.users.tolist())
        except KeyError as error:
            raise KeyError(
                f"users {name_some(error.args[0])} were not adapted: pass them to adapt_many first"
            ) from None

    def predict_proba(self, episodes: Any) -> NDArray[Any]:
        """Probability of each choice under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Between 0 and 1.
        """
        return sigmoid(self.decision_function(episodes))

    def predict_outcomes(self, episodes: Any) -> NDArray[np.float64]:
        """Probability of win, tie and loss of each pair's first response, under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of shape (n_pairs, 3)
            Rows sum to 1.
        """
        return outcome_probabilities(self.decision_function(episodes), self.held_against(episodes))

    def held_against(self, episodes: Any) -> NDArray[np.float64] | None:
        """Thresholds of each pair: those of the population; of users without choices those of one reward for all.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of shape (n_pairs, n_grades) or None
            In logits; None where fit had plain choices alone. Of ratings, the cuts on their side of the bar.
        """
        checked, rows = self._checked(episodes, "held_against")
        known, unknown = (thresholds_by_pair(self._base, checked, n_pairs) for n_pairs in (1, 0))
        if known is None or unknown is None:
            return None
        return np.where(rows.n_pairs[checked.user, None] > 0, known, unknown)

    def outcomes_of(self, episodes: Any) -> NDArray[np.int64] | None:
        """What was said of each pair, as an outcome of its margin; of ratings, the levels that they are off the middle.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of int of shape (n_pairs,) or None
            0 for a tie; None where all are plain choices.
        """
        checked, _ = self._checked(episodes, "outcomes_of")
        cuts = self._base.cuts
        if checked.rating is None or cuts is None:
            return checked.outcome
        return rated_outcomes(checked.rating, checked.outcome, len(cuts) + 1)

    @property
    def thresholds_(self) -> NDArray[np.float64] | None:
        """Of ties and strengths in the population, (n_grades,), in logits; None where fit had plain choices alone."""
        return self._base.thresholds

    def _export_source(self) -> Source:
        return users_source(self._base, self.weights_)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, user: object) -> bool:
        return user in self._table

    def __repr__(self) -> str:
        place = "" if self._file is None else f", file={str(self._file.path)!r}"
        return f"UserModels(n_users={len(self)}, n_bases={self._base.n_bases}{place})"

    def _repr_html_(self) -> str:
        from skmrm.estimators.summary import users_page

        return users_page(self)


def _are_several(user: Any) -> bool:
    """Whether an index is of several users: a list, an array, a column of a table, and whatever else is no key."""
    try:
        hash(user)
    except TypeError:
        return True
    return False


def _ids(ids: Any) -> list[Hashable]:
    return list(dict.fromkeys(id_array(list(ids)) if _are_several(ids) else [ids]))


def _spelt_alike(user: Hashable) -> Iterator[Hashable]:
    """Ids that a reader of tables may have made of one, or one of: 7, "7" and "007"."""
    text = str(user)
    if isinstance(user, str | int) and text.isdecimal():
        yield int(text)
        yield from (f"{int(text):0{width}}" for width in range(1, 10))


def _shared(blocks: Iterator[UserRows], include: frozenset[str]) -> Iterator[UserRows]:
    """Rows as they are pushed: of users by number, and without what they said, unless these are asked for."""
    n_before = 0
    for rows in blocks:
        numbers = rows.users if "ids" in include else id_array([*range(n_before, n_before + len(rows))])
        n_before += len(rows)
        yield replace(rows, users=numbers, history=rows.history if "history" in include else None)


def _columns(rows: UserRows) -> dict[str, Any]:
    weights = {f"weight_{base}": column for base, column in enumerate(rows.weights.T)}
    return {"user": rows.users, "n_pairs": rows.n_pairs, **weights}
