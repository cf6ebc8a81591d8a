"""Tests of `core/modelling`."""
