"""Where heavy work runs: Ray, here or on a cluster; only ray_door.py imports `ray`."""
