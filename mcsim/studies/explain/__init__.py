"""One boot in pictures and words: why it failed, who holds the pages, where two variants part; and sums over many."""
