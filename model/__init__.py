"""What a model is: decoding, preprocessing, network, the bundle on disk, and the predictor.

Training, evaluation, packaging and the handler all use this package, and it ships inside the archive,
so the same photo gives the same answer everywhere. It knows neither TorchServe nor training.
"""
