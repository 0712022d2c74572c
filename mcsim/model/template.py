"""The experiment that `mcsim new` writes."""

TEMPLATE = """\
#:schema mcsim.schema.json
# An experiment of mcsim: how likely is this boot to run out of contiguous memory?
# Run it with `mcsim run FILE`; the same command again continues. `mcsim list` prints what comes along.

[experiment]
title = "P(OOM) with and without the fix of the free lists"

# Kernels to compare: shipped ones, and your own from the tables at the end.
variants = ["maple-naive", "tail-free", "my-fix"]

# Sizes, ranges (both ends included), or a list of both.
ram = ["30M..34M step 1M", "64M"]

# Boots per variant and RAM size. A larger number later adds boots, it does not start again.
boots = 500

# Everything random follows from the seed and the number of the boot: boot 17 is the same boot under every variant.
seed = 1

[machine]
board = "m5208evb"

# What boots: programs extracted from recordings of real boots. Your own board: `mcsim import`, then file = "FOLDER".
[workload]
recordings = "C"

# What is random besides the recording: sigma of the lognormal factor of each gap between requests, and of the one that
# is common to a boot. The workload brings its own values; these would replace them.
# [timing]
# gap_sigma = 0.15
# boot_sigma = 0.3

# Not every cell of the grid is worth its boots: leave some out, or name with `only` those that are.
[sweep]
exclude = [{ variant = "my-fix", ram = "64M" }]

# Without this table each cell gets all its boots. The first rule that fires ends a cell.
# [stop]
# half_width = 0.01           # P(OOM) is known to +- 0.01
# max_failures = 100          # so many boots have failed
# decided = "maple-naive"     # the difference from this variant is clear
# wall_time = "30m"           # the whole run takes no longer

# Your own fix: name what it changes.
[variants.my-fix]
based_on = "maple-naive"
description = "leftovers of alloc_pages_exact() to the tail, and no trimming"
exact_tail = "tail"
trim_pages = 0
"""
