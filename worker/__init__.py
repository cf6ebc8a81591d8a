"""The queue front door: `loop.py` claims jobs, `runner.py` keeps subprocesses that `compute.py` is, `predictor.py` answers.

The worker itself never loads torch: deactivations run in it, warm, and training runs in a process of its own.
"""
