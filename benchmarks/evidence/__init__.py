"""When WeakSupCon helps: adapters of frozen features on pseudo-slides of real patches, for different amounts of tumour in a positive slide."""
