"""What the outcomes say, and how sure: intervals and summaries. Estimators come from scipy."""
