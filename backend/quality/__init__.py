"""How good predictions were: figures over outcomes that come late, with intervals, and estimates before they come."""
