"""Files by digest: bytes that are never changed, only put, read and deleted (DESIGN §8).

`store` is the door, `directory` keeps objects on a local disk. What is stored here is sealed by its caller.
"""
