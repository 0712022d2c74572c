"""What people read: text tables, the plot, and a summary page, all made from a result folder."""
