"""Run heavy work with Ray, on this machine or on a cluster; only ray_door.py imports `ray`."""
