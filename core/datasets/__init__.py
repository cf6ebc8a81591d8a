"""Registered data: what rows must look like, how files become rows, and how rows become blocks (numpy, no torch).

    files ──readers──▶ columns ──validation──▶ Rows ──blocks──▶ one block per owner and part ──▶ chunks to seal and store

A kind of data set is an `…_schema` and an `…_rows`; `kinds` tells them apart. The schema is the contract declared at
registration; nothing is ever derived from the rows themselves, as what is derived from a row would outlive its deletion.
`tables` and `parquet` read whole tables; `texts`, `numbers` and `labels` read columns.
"""
