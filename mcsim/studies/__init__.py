"""Questions that take many boots, and their answers: compare, min-ram, sensitivity, rare, explain."""
