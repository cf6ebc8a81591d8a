"""What the service costs, measured beside rivals in one run. Each program is one command; see `benchmarks/README.md`.

intake.py            POST /v1/deletion-requests against a bare ORM insert, at 10^3 and 10^6 stored requests
end_to_end.py        POST to the predictor's first new answer (E1) to the certificate, while training runs beside it
deletion_growth.py   E1 in this process at 10^3 ... 10^6 records and at 10 ... 10^5 past requests
log_append.py        one entry in the Merkle log against one bare row
workers.py           building a lattice with 1, 2, 4 training processes

report.py  what every program prints and writes    scratch.py  a database and processes of its own, thrown away after
declared.py  rows by SQL: a lattice without tensors, and a past    load.py  requests over HTTP    bare.py  the rivals
"""
