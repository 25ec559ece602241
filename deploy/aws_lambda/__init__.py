"""The classifier as an AWS Lambda function behind API Gateway: `model/` alone, without TorchServe."""
