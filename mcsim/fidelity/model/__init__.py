"""How well the model meets real boots: predictions against failure counts, and recorded boots run again."""
