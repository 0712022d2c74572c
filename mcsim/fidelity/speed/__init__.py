"""How fast it is: ours beside C twins, whole boots, start-up, memory, scaling (`mcsim check speed`)."""
