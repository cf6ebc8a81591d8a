"""Tests of `core/unlearning`; `tiny` is the small world they share."""
