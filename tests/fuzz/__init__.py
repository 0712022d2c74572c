"""`make fuzz`: damaged and hostile inputs for every reader, each answered by one message or by a sane result.

choices.py: where the decisions about an input come from (a counter, Hypothesis, atheris). mutate.py: what is done to an
input. oracle.py: what may come out. targets/: one reader each. worker.py: tries inputs, in a process that may die.
supervisor.py: starts workers, kills those that hang, attributes what happened to one input, and counts.
"""
