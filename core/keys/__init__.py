"""Data keys, apart from the data: destroying one erases every copy of what it sealed, backups included (DESIGN §8).

`store` is the door, `directory` keeps keys on a local disk, and `envelope` seals and unseals bytes under a key.
"""
