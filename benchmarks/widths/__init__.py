"""What adapters of few numbers keep: WeakSupCon, SimCLR and SupCon by the width of their features, on pseudo-slides of real patches."""
