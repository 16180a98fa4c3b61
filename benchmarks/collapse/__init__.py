"""Whether training falls to one point in its first steps, by encoder, batch size, learning rate and weight of the similarity half."""
