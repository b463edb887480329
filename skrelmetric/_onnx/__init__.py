"""ONNX: estimators as operators, and how skl2onnx comes to know of them."""
