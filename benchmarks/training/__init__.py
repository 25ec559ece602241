"""What a recipe of training is worth, over folds of the training photos."""
