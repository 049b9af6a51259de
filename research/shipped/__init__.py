"""What the shipped Fashion-MNIST networks are trained on; research/train_shipped*.py train them."""
