"""The process that gives many Envoys their routes over ADS, from numbered snapshots on its own disk (docs/fleets.md)."""
