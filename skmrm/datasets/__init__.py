"""Simulated users whose true rewards are known, public data of real people, and a reader of everybody's own files."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.datasets._community_alignment import fetch_community_alignment
    from skmrm.datasets._fetch_splits import PaperSplit
    from skmrm.datasets._mt_bench import fetch_mt_bench_judgments
    from skmrm.datasets._personal_llm import fetch_personal_llm
    from skmrm.datasets._polis import fetch_polis
    from skmrm.datasets._preferences import read_preferences
    from skmrm.datasets._prism import fetch_prism
    from skmrm.datasets._reddit_tldr import fetch_reddit_tldr
    from skmrm.datasets._simulated import make_user_preferences, oracle_accuracy, true_gaps
    from skmrm.datasets._style import load_style_preferences

__all__ = [
    "PaperSplit",
    "fetch_community_alignment",
    "fetch_mt_bench_judgments",
    "fetch_personal_llm",
    "fetch_polis",
    "fetch_prism",
    "fetch_reddit_tldr",
    "load_style_preferences",
    "make_user_preferences",
    "oracle_accuracy",
    "read_preferences",
    "true_gaps",
]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_community_alignment": ["fetch_community_alignment"],
        "_fetch_splits": ["PaperSplit"],
        "_mt_bench": ["fetch_mt_bench_judgments"],
        "_personal_llm": ["fetch_personal_llm"],
        "_polis": ["fetch_polis"],
        "_preferences": ["read_preferences"],
        "_prism": ["fetch_prism"],
        "_reddit_tldr": ["fetch_reddit_tldr"],
        "_simulated": ["make_user_preferences", "oracle_accuracy", "true_gaps"],
        "_style": ["load_style_preferences"],
    },
)
