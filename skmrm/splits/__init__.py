"""Splits that do not lie: users apart, and within a user no group on both sides of support and query."""

from skmrm.splits.support_query import SupportQuery, draw_support_query, support_query_split
from skmrm.splits.users import split_users, split_users_and_groups

__all__ = ["SupportQuery", "draw_support_query", "split_users", "split_users_and_groups", "support_query_split"]
