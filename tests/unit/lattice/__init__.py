"""Tests of the combinatorics: placement, families, survival, occupancy and cost."""
