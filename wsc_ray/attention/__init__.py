"""Where a head looked in a slide: the file that says so, and GeoJSON of it for QuPath."""
