"""Stage ``tables``: render a track's tables and metrics from its rows."""
