"""When WeakSupCon helps: adapters trained on pseudo-slides of real patches, for different shares of tumour in positive slides."""
