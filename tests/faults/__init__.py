"""The fault suite: what may happen to a deployment, made to happen, and what must be true afterwards.

    stack        a deployment to torment          worlds     what it is a copy of, and fresh builds to compare with
    processes    kill, freeze, bring back         proof      nothing lost, doubled, stale, left over
    weather      random strikes, by a seed        unguarded  the same without one guard, which must not pass

A scenario is a file. Beside what it shows stand tests that take the guard out and show that the same proof then fails:
a guard that nothing would miss is not one. `make test-faults` runs all of it (LETHE_TEST_FAULTS=full), CI a shorter form.
Everything is real, on servers of our own that are thrown away, and on loopback.
"""
