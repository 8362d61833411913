"""Preference data at the boundary: reading, checking, and the columnar set; public names are in `skmrm.episodes`."""
