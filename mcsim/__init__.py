"""mcsim."""
