"""The planner: what a lattice will bear and cost, before anybody commits to it (DESIGN §4.10). No torch, no database.

    question.py   what is asked: shards, family, how deletions fall, repair; nonsense is refused at the door
    deaths.py     deletions until the first shard is dead, and all are                            closed forms
    decay.py      depth and active share while nothing is repaired                                closed form up to 10 slices
    traces.py     the same and the worst shard, from simulated deletions                          seeds are fixed
    repair.py     active share and cost under a repair budget, or with rebuilding only            simulated
    window.py     repairing everything every so many deletions                                    cost in closed form
    costs.py      training, storage and inference, every sequence charged
    target.py     what a model is expected to bear, and the sentences when it cannot
    effort.py     how much work one question may take
    plan.py       all of it together

A deletion hits slices; a hit slice is lost to every set that contains it until it is repaired. The unit of cost is the
slice-epoch: one pass over one slice, so that a node of depth k costs k for each of its epochs.
"""
