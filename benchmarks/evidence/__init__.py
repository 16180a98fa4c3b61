"""When WeakSupCon helps: adapters of frozen features on pseudo-slides of real patches, by how much tumour a positive slide holds."""
