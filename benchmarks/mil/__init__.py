"""An epoch of attention-MIL over packed bags, beside torchmil's model one bag at a time, and in padded batches."""
