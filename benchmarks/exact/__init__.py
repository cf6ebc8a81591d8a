"""What exact unlearning costs and keeps, beside its rivals in one run. Each program is one command; see `benchmarks/README.md`.

deletion.py    E1 through the embedded service, against retraining the affected SISA shard and everything
stream.py      200 deletions on Fashion-MNIST: accuracy and active share of ours, S3T and SISA at equal slice-epochs
texts.py       the same with 40 deletions on newsgroup posts and MiniLM
sharding.py    what shards cost: accuracy and time for m = 1, 3, 5, 10 against one unsharded model
real_data.py   two public tables: what occupancy allows, one person deleted, repaired, against a fresh build
footprint.py   bytes and parameters per node and per lattice; growth of build time with the records
activation_cache.py  opening frozen activations from disk, against computing them    ridge.py  records out of a ridge head
throughput.py  building a shard's lattice, against peft and transformers' Trainer
repair_goal.py the simulated share that stays active under 2.8 slice-epochs per deletion

data.py  rows, owners and backbones    world.py  slices as they stand after deletions, and nodes trained when asked for
policies.py  what each rival does about a hit    race.py  one stream for all of them    pictures.py  the plots
"""
