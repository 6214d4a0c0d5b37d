"""From texts to training sets: bias specifications and counterfactual data augmentation (paper §4.1)."""
