"""Fine-tuning: which layers are trained in which stage, at which learning rate, and until when."""
