"""Registered data: what rows must look like, how files become rows, and how rows become blocks (numpy, no torch).

    files ──readers──▶ columns ──validation──▶ Rows ──blocks──▶ one block per owner and part ──▶ chunks to seal and store

`schema` is the contract declared at registration; nothing is ever derived from the rows themselves, as what is derived
from a row would outlive its deletion. `texts` reads columns of strings and numbers as text.
"""
