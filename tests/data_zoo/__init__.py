"""Every kind of bad data that the fault matrix names (rows B1 to B24), made small."""
