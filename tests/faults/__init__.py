"""`make faults`: real commands meet real faults, and afterwards the same command continues to the same table.

world.py: the commands, an undisturbed run of each, and what is asked after a fault. kinds.py: the faults, one function
a kind. killat.py: a command that dies at its N-th file event.
"""
