"""The queue front door: everything that claims jobs, wakes those who do, looks after both, and answers predictions.

    deactivation.py  slot.py     the two lanes: one runs in this process, the other in subprocesses (runner.py, compute.py)
    hand.py                      works one lane, whoever wakes it
    loop.py  consumer.py         the worker: woken by the database, or by a broker
    doorbell.py  dispatcher.py   the bell, and who rings it
    upkeep.py                    the rounds that somebody has to make
    predictor.py                 answers from the live version

Only compute.py and predictor.py load torch.
"""
