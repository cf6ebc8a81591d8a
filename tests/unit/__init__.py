"""Tests that need nothing but Python: one room for each room of core."""
