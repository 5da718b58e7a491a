"""Sources of figures: one file a kind, all behind `port.Source`, all through one contract suite."""
