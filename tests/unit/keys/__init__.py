"""Tests of the key store and the seal."""
