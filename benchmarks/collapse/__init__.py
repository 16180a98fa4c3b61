"""Whether features collapse in the first steps of training, by encoder, batch size, learning rate and weight of the similarity half."""
