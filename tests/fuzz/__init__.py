"""What reads other people's bytes, fed with any bytes: see `run`.

run        the command: every target for some seconds, guided by coverage if atheris is there
engine     the two ways to find inputs, and how one that fails is made smaller
source     an input as a series of choices
streams    a client's stream in memory
targets/   one module for each: its check, which raises if a promise is broken, and words that its inputs hold
corpus/    for each target inputs that reach most of its code, and all that once were findings
"""
