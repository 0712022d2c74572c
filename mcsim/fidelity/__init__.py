"""Whether to trust it: vectors, recordings, counts of real boots, stored results, statistics, speed."""
