"""Reports: one HTML file about a run or a plan, or about several that are compared."""
