"""An epoch of attention-MIL over packed bags, compared with torchmil's model with one bag at a time, and with padded batches."""
